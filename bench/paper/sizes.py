"""The paper's size groups by name: the sizes of Tables 3, 4, 6, 7 and 8, Figures 5 and 10, and §4.3."""

from __future__ import annotations

from bench.models.sizes import LARGEST, Size

Groups = dict[str, tuple[Size, ...]]
"""Sizes by the name of their group."""


def _sizes(*pairs: tuple[int, int]) -> tuple[Size, ...]:
    return tuple(Size(layers=layers, width=width) for layers, width in pairs)


TABLE_6: Groups = {
    "large": _sizes((12, 768)),
    "medium": _sizes((8, 512), (32, 256)),
    "small": _sizes((4, 256), (16, 128)),
    "x-small": _sizes((2, 128), (8, 64), (32, 32)),
}


def _heads_of_16(*pairs: tuple[int, int]) -> tuple[Size, ...]:
    return tuple(Size(layers=layers, width=width, heads=width // 16) for layers, width in pairs)


# Figure 10: 2, 8, 32 and 128 layers at a fixed number of parameters, heads of 16 dimensions. The paper
# names the layers; the widths are inferred from its counts (of the Transformer's blocks, 12·layers·width²).
APPENDIX_C: Groups = {
    "depth-0.4M": _heads_of_16((2, 128), (8, 64), (32, 32), (128, 16)),
    "depth-1.6M": _heads_of_16((2, 256), (8, 128), (32, 64), (128, 32)),
    "depth-6.3M": _heads_of_16((2, 512), (8, 256), (32, 128), (128, 64)),
    "depth-25M": _heads_of_16((2, 1024), (8, 512), (32, 256), (128, 128)),
}

# Table 7, chain of thought.
TABLE_7: Groups = {
    "cot-standard": (Size(layers=12, width=256, heads=8),),
    "cot-small": (Size(layers=6, width=128, heads=4),),
    "cot-tiny": (Size(layers=3, width=64, heads=2),),
}

# Table 8, many-outlier regression.
TABLE_8: Groups = {"regular": _sizes((6, 512)), "mini": _sizes((4, 256))}

# Table 3, vector MQAR: 4 layers, embedding dimension 64 or 128.
TABLE_3: Groups = {"mqar-64": _sizes((4, 64)), "mqar-128": _sizes((4, 128))}

# Sparse parity: Figure 5's models, and the largest Transformer that §4.3 names. Of the smallest Mamba that
# solves it ("as small as 2 layers") the width is not stated; 256 is Figure 5's.
PARITY: Groups = {
    "parity": _sizes((12, 256)),
    "parity-large": _sizes((24, 768)),
    "parity-2-layers": _sizes((2, 256)),
}

# Table 4, GINC: the LSTM has 6 layers; the others are Table 6's large.
TABLE_4: Groups = {"ginc": _sizes((12, 768)), "ginc-lstm": _sizes((6, 768))}


def _all(groups: Groups) -> tuple[Size, ...]:
    return tuple(size for sizes in groups.values() for size in sizes)


SIZE_GROUPS: Groups = {
    **TABLE_6,
    **TABLE_7,
    **TABLE_8,
    **TABLE_3,
    **PARITY,
    **TABLE_4,
    **APPENDIX_C,
    "table3": _all(TABLE_3),
    "table6": _all(TABLE_6),
    "table7": _all(TABLE_7),
    "table8": _all(TABLE_8),
    "appendix-c": _all(APPENDIX_C),
}


def sizes_of(word: str) -> tuple[Size, ...] | None:
    """The sizes of a group, or the one that `2x128` or `2×128` states; None for other words."""
    if word in SIZE_GROUPS:
        return SIZE_GROUPS[word]
    numbers = word.replace("×", "x").split("x")
    if len(numbers) != 2 or not all(number.isdecimal() and len(number) <= 9 for number in numbers):
        return None
    layers, width = map(int, numbers)
    return (
        (Size(layers=layers, width=width),)
        if 0 < min(layers, width) <= max(layers, width) <= LARGEST
        else None
    )


def group_of(layers: int, width: int) -> str | None:
    """Return Table 6's name for a size, or None where Table 6 has no such size."""
    for group, sizes in TABLE_6.items():
        if any((size.layers, size.width) == (layers, width) for size in sizes):
            return group
    return None
