"""Sizes of the published GINC instance (Xie et al. 2021). `hidden_markov` generates it."""

from __future__ import annotations

TRAINING_DOCUMENTS, TRAINING_LENGTH = 1000, 10_240
VALIDATION_DOCUMENTS, VALIDATION_LENGTH = 100, 1024
PROMPT_LENGTHS = (3, 5, 8, 10)
"""k: words of an example, the last of which is its output."""
EXAMPLES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256)
"""n: examples before the one to complete. Prompts of more than 1 024 words are left out."""
SHOWN_EXAMPLES = tuple(n for n in EXAMPLES if n <= 64)
PROMPTS = 2500
"""Prompts for each k and n."""
