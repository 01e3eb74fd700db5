"""Size groups of the paper, by name: (layers, width, heads) each (Tables 6, 7, 8)."""

from __future__ import annotations

from pydantic import PositiveInt

from bench.models.architectures import Architecture
from bench.frozen import Frozen


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

SIZE_GROUPS: dict[str, tuple[Size, ...]] = {
    **TABLE_6,
    # Table 7, chain of thought.
    "cot-standard": (Size(layers=12, width=256, heads=8),),
    "cot-small": (Size(layers=6, width=128, heads=4),),
    "cot-tiny": (Size(layers=3, width=64, heads=2),),
    # Table 8, many-outlier regression.
    "regular": _sizes((6, 512)),
    "mini": _sizes((4, 256)),
}


def group_of(layers: int, width: int) -> str | None:
    """Table 6's name for a size, or None."""
    for group, sizes in TABLE_6.items():
        if any((size.layers, size.width) == (layers, width) for size in sizes):
            return group
    return None
