"""Size groups of the paper, by name: (layers, width, heads) each (Tables 6, 7, 8; Figure 10)."""

from __future__ import annotations

from pydantic import PositiveInt

from bench.frozen import Frozen
from bench.models.architectures import Architecture


class Size(Frozen):
    """Layers of two blocks, nominal width, attention heads (8 unless a table says otherwise).

    A model without attention has no heads: `heads` is None there, so that asking for Mamba with 4
    or with 8 heads is the same run.
    """

    layers: PositiveInt
    width: PositiveInt
    heads: PositiveInt | None = 8

    def of(self, architecture: Architecture) -> Size:
        """This size as `architecture` uses it."""
        return self if architecture.needs_heads() else self.model_copy(update={"heads": None})


def _sizes(*pairs: tuple[int, int]) -> tuple[Size, ...]:
    return tuple(Size(layers=layers, width=width) for layers, width in pairs)


TABLE_6: dict[str, tuple[Size, ...]] = {
    "large": _sizes((12, 768)),
    "medium": _sizes((8, 512), (32, 256)),
    "small": _sizes((4, 256), (16, 128)),
    "x-small": _sizes((2, 128), (8, 64), (32, 32)),
}


def _heads_of_16(*pairs: tuple[int, int]) -> tuple[Size, ...]:
    return tuple(Size(layers=layers, width=width, heads=width // 16) for layers, width in pairs)


# Figure 10: 2, 8, 32 and 128 layers at a fixed number of parameters, heads of 16 dimensions. The paper
# names the layers; the widths are inferred from its counts (of the Transformer's blocks, 12·layers·width²).
APPENDIX_C: dict[str, tuple[Size, ...]] = {
    "depth-0.4M": _heads_of_16((2, 128), (8, 64), (32, 32), (128, 16)),
    "depth-1.6M": _heads_of_16((2, 256), (8, 128), (32, 64), (128, 32)),
    "depth-6.3M": _heads_of_16((2, 512), (8, 256), (32, 128), (128, 64)),
    "depth-25M": _heads_of_16((2, 1024), (8, 512), (32, 256), (128, 128)),
}

SIZE_GROUPS: dict[str, tuple[Size, ...]] = {
    **TABLE_6,
    "table6": tuple(size for sizes in TABLE_6.values() for size in sizes),
    # Table 7, chain of thought.
    "cot-standard": (Size(layers=12, width=256, heads=8),),
    "cot-small": (Size(layers=6, width=128, heads=4),),
    "cot-tiny": (Size(layers=3, width=64, heads=2),),
    # Table 8, many-outlier regression.
    "regular": _sizes((6, 512)),
    "mini": _sizes((4, 256)),
    **APPENDIX_C,
}


def group_of(layers: int, width: int) -> str | None:
    """Table 6's name for a size, or None."""
    for group, sizes in TABLE_6.items():
        if any((size.layers, size.width) == (layers, width) for size in sizes):
            return group
    return None
