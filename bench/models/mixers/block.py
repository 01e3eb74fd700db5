"""What every block is, described without torch.

A block maps (B, L, D) to (B, L, D) and is used as h + block(LayerNorm(h)). Its class here is its
settings; it states its own cost and makes its own module.

Parameters are the module's own: the LayerNorm before it is the architecture's. Multiplications are
those of one prompt of L tokens, as the paper's Appendix B counts them; `bench.flops` says what is
counted and why.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, ClassVar

from bench.errors import UserError, raised_in
from bench.frozen import Frozen

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Place:
    """Where a block stands in a model: what its module may depend on besides its own settings.

    Attributes:
        width: D.
        heads: heads of the model; 1 where no block of the architecture states `uses_heads`.
        layers: layers of the model.
        blocks: blocks of those layers; one that comes before them does not count.
        index: the block's position from 0, over all blocks, those before the layers too.
        scan: name of the kernels' backend (`bench.kernels.backends.SCAN_NAMES`).
    """

    width: int
    heads: int
    layers: int
    blocks: int
    index: int
    scan: str


class Block(Frozen):
    """Settings of one kind of block; subclasses add fields, what it costs and what it builds."""

    uses_heads: ClassVar[bool] = False
    """Whether its module depends on `Place.heads`, which then divide the width.

    A suite's `heads` are part of a run where a block says so, and dropped elsewhere. The number of its
    parameters must not depend on them: such a number is a field of its own."""

    stackable: ClassVar[bool] = False
    """Whether `torch.func.vmap` runs its module for a stack of models at once, without a loop."""

    name: str

    def parameters(self, D: int) -> int:
        """Trainable parameters of its module at width D.

        A block that states no closed form is built to be counted, and only then is torch imported.

        Raises:
            UserError: its module cannot be built at this width.
        """
        return counted(self, D)

    @abstractmethod
    def multiplications(self, L: int, D: int) -> int:
        """Forward multiplications of one prompt of L tokens at width D."""

    @abstractmethod
    def build(self, place: Place) -> nn.Module:
        """A freshly initialised module (B, L, D) → (B, L, D), drawn from torch's global generator."""


def counted(block: Block, D: int) -> int:
    """Trainable parameters of the module that `block` builds at width D.

    Raises:
        UserError: it cannot be built.
    """
    return _counted(type(block), block.model_dump_json(), D)


@cache
def _counted(kind: type[Block], settings: str, D: int) -> int:
    import torch

    block = kind.model_validate_json(settings)
    place = Place(width=D, heads=1, layers=1, blocks=1, index=0, scan="sequential")
    try:
        with torch.random.fork_rng(devices=[]):
            module = block.build(place)
    except Exception as error:  # whatever its author's code raises
        told = raised_in(error, kind.__module__)
        raise UserError(f"block '{block.name}' cannot be built at width {D}: {told}") from error
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
