"""The base class of all blocks, without torch.

A block maps (B, L, D) to (B, L, D) and is used as h + block(norm(h)). A block's class contains its
settings, states its cost and builds its PyTorch module.

A block counts only the parameters of its module, because the norm before it belongs to the architecture. It
counts multiplications of a prompt of L tokens as the paper's Appendix B does. `bench.flops` explains which
multiplications are counted, and why.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, ClassVar, Protocol, Self, runtime_checkable

from bench.errors import UserError, raised_in
from bench.frozen import Frozen

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Place:
    """The place of a block in a model: everything that its module may depend on besides its settings.

    Attributes:
        width: D.
        heads: heads of the model; 1 where no block of the architecture states `uses_heads`.
        layers: layers of the model.
        blocks: number of blocks in these layers, without blocks before the first layer.
        index: the block's position among all blocks from 0, including blocks before the first layer.
        backend: name of the kernels' backend (`bench.kernels.backends.NAMES`).
        passed_on: tensors that blocks pass on to later blocks in a forward pass, by name. All blocks of a
            model have the same mapping, which the model empties after each pass.
    """

    width: int
    heads: int
    layers: int
    blocks: int
    index: int
    backend: str
    passed_on: dict[str, Tensor] = field(default_factory=dict, compare=False)

    def site(self, number: int) -> int:
        """The site in the model of the block's dropout module `number`, from 0 to `SITES_OF_A_BLOCK` − 1."""
        return (self.index + 1) * SITES_OF_A_BLOCK + number


SITES_OF_A_BLOCK = 4
"""Largest number of dropout modules of a block. Sites below this number belong to the backbone."""


@runtime_checkable
class StreamModule(Protocol):
    """The module of a block that carries its state from one training step to the next."""

    def begin_streams(self, batch: int) -> Tensor:
        """Carry the state between batches of this size from now on; return it. Steps overwrite it."""


class Block(Frozen):
    """Settings of a kind of block. Subclasses add fields, the cost and the module.

    The name of a field with a probability of dropout ends in `dropout`: `bench run --gpus-per-run` refuses a
    run in which one is not 0.
    """

    uses_heads: ClassVar[bool] = False
    """Whether the module depends on `Place.heads`, which then must divide the width.

    A suite's `heads` are part of a run only if one of the architecture's blocks sets this. The number of
    parameters must not depend on `Place.heads`. If it depends on a number of heads, that number must be a
    field of the block."""

    stackable: ClassVar[bool] = False
    """Whether `torch.func.vmap` can run the module for a whole stack of models at once."""

    name: str

    def width_fault(self, D: int) -> str | None:
        """Why the block has no module of width D, as a sentence; None if it has one.

        The other methods may assume a width without a fault, because a suite with another width is refused.
        """
        return None

    def first_of_model(self) -> Self:
        """The settings of the first block of this class in a model; by default those of the other blocks.

        For example, RWKV-7 mixes values with those of the first block, which has no such mix
        (`Place.passed_on`).
        """
        return self

    def parameters(self, D: int) -> int:
        """Number of trainable parameters of the module at width D.

        This default builds the module and counts, which imports torch. Subclasses may state a closed form.

        Raises:
            UserError: the module cannot be built at this width.
        """
        return count_parameters(self, D)

    @abstractmethod
    def multiplications(self, L: int, D: int) -> int:
        """Number of forward multiplications for a prompt of L tokens at width D."""

    def state_numbers(self, L: int, D: int) -> int | None:
        """How many numbers the block keeps of L tokens to read the next token; None if it is not stated.

        This is the size of a recurrent state, or of all keys and values. The last inputs of short
        convolutions are not counted.
        """
        return None

    @property
    def is_causal(self) -> bool:
        """Whether no output depends on later tokens."""
        return True

    @property
    def carries(self) -> bool:
        """Whether a training step begins with the state at the end of the step before (`StreamModule`)."""
        return False

    @abstractmethod
    def build(self, place: Place) -> nn.Module:
        """A new module (B, L, D) → (B, L, D). Initial values come from torch's global random generator."""


def whole_product(factor: float, count: int) -> int | None:
    """The product factor · count if it is a whole number, else None.

    A product of decimals is not exact in binary: 0.28 · 50 is 14.000000000000002.
    """
    product = factor * count
    return round(product) if math.isclose(product, round(product), rel_tol=1e-9) else None


@cache
def count_parameters(block: Block, D: int) -> int:
    """Number of trainable parameters of the module that `block` builds at width D, by building it.

    Raises:
        UserError: the module cannot be built.
    """
    import torch

    place = Place(width=D, heads=1, layers=1, blocks=1, index=0, backend="sequential")
    try:
        with torch.random.fork_rng(devices=[]):
            module = block.build(place)
        if not isinstance(module, torch.nn.Module):
            raise TypeError(f"`build` returns {type(module).__name__} instead of a torch.nn.Module")
        return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
    except Exception as error:  # a plugin's code may raise anything
        reason = raised_in(error, type(block).__module__)
        raise UserError(f"block '{block.name}' cannot be built at width {D}: {reason}") from error
