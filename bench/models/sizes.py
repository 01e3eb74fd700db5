"""The size of a model (layers, width, attention heads), and sizes as text.

`bench.paper.sizes` has the paper's size groups.
"""

from __future__ import annotations

import re
from typing import Annotated, Protocol

from pydantic import Field

from bench.frozen import Frozen
from bench.models.architecture import Architecture

LARGEST = 100_000
"""Largest number of layers, channels or heads in a suite. It is far beyond what can be trained."""
Count = Annotated[int, Field(gt=0, le=LARGEST)]
"""A number of layers, channels or heads."""


class Size(Frozen):
    """Layers, nominal width, attention heads (8 by default, as in the paper).

    `heads` is None for an architecture without a block that uses heads. So Mamba with 4 heads and Mamba with
    8 heads are the same run.
    """

    layers: Count
    width: Count
    heads: Count | None = 8

    def of(self, architecture: Architecture) -> Size:
        """This size as `architecture` uses it."""
        return self if architecture.uses_heads else self.model_copy(update={"heads": None})


class LayersByWidth(Protocol):
    """A planned or recorded size, or anything else with layers and a nominal width."""

    @property
    def layers(self) -> int: ...

    @property
    def width(self) -> int: ...


def size_key(size: LayersByWidth) -> str:
    """A size as text in suites, filters and file names: 2x128."""
    return f"{size.layers}x{size.width}"


def size_text(size: LayersByWidth) -> str:
    """A size as text in reports and tables: 2×128."""
    return f"{size.layers}×{size.width}"


def as_fields(word: str) -> str | None:
    """The fields of a size that is written as in `bench plan`, such as 2×128; None for other words."""
    size = re.fullmatch(r"(\d+) ?[x×] ?(\d+)", word)
    return f"its fields, layers: {size[1]} and width: {size[2]}" if size else None
