"""The size of a model: layers, width and attention heads. `bench.paper.sizes` has the paper's groups."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bench.frozen import Frozen
from bench.models.architecture import Architecture

LARGEST = 100_000
"""Largest number of layers, channels or heads, far beyond what can be trained."""
Count = Annotated[int, Field(gt=0, le=LARGEST)]
"""A number of layers, channels or heads."""


class Size(Frozen):
    """Layers, nominal width, attention heads (8 unless a table says otherwise).

    A model without a block that uses heads has none: `heads` is None there, so that asking for Mamba
    with 4 or with 8 heads is the same run.
    """

    layers: Count
    width: Count
    heads: Count | None = 8

    def of(self, architecture: Architecture) -> Size:
        """This size as `architecture` uses it."""
        return self if architecture.uses_heads else self.model_copy(update={"heads": None})
