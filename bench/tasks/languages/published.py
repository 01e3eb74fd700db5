"""Sizes of the published GINC instance (Xie et al. 2021). `hidden_markov` generates it."""

from __future__ import annotations

TRAINING_DOCUMENTS, TRAINING_LENGTH = 1000, 10_240
VALIDATION_DOCUMENTS, VALIDATION_LENGTH = 100, 1024
PROMPT_LENGTHS = (3, 5, 8, 10)
"""k: words of an example, the last of which is its output."""
SHOWN_EXAMPLES = (0, 1, 2, 4, 8, 16, 32, 64)
"""n: examples before the one to complete."""
PROMPTS = 2500
"""Prompts for each k and n."""

# Where prompts begin cannot be computed: the generator draws an integer again until it is small enough, and
# it draws prompts of other concepts in between. These places were counted once; tests check the prompts.
PLACES = {
    (3, 0): 0,
    (3, 1): 22_476,
    (3, 2): 58_781,
    (3, 4): 109_200,
    (3, 8): 187_615,
    (3, 16): 321_937,
    (3, 32): 568_268,
    (3, 64): 1_037_916,
    (5, 0): 16_447_981,
    (5, 1): 16_480_428,
    (5, 2): 16_536_852,
    (5, 4): 16_617_272,
    (5, 8): 16_745_565,
    (5, 16): 16_969_840,
    (5, 32): 17_386_377,
    (5, 64): 18_186_855,
    (8, 0): 29_816_540,
    (8, 1): 29_864_158,
    (8, 2): 29_950_649,
    (8, 4): 30_075_975,
    (8, 8): 30_279_318,
    (8, 16): 30_638_466,
    (8, 32): 31_309_874,
    (8, 64): 32_605_113,
    (10, 0): 40_519_224,
    (10, 1): 40_576_761,
    (10, 2): 40_683_117,
    (10, 4): 40_838_680,
    (10, 8): 41_092_193,
    (10, 16): 41_541_687,
    (10, 32): 42_383_285,
    (10, 64): 44_008_147,
}
"""The generator's 32-bit word at which the prompts of (k, n) begin."""
