"""The blocks that architectures are patterns of, described without torch.

A block maps (B, L, D) to (B, L, D) and is used as h + block(LayerNorm(h)). Its class here is its
settings; it states its own cost and makes its own module, so that a new mixer is one file: a subclass
of `Block` with the module it builds, and an `Architecture` that has it in its pattern.

Parameters are the module's own: the LayerNorm before it is the architecture's. Multiplications are
those of one prompt of L tokens, as the paper's Appendix B counts them; `bench.flops` says what is
counted and why.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, PositiveInt

from bench.frozen import Frozen

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Place:
    """Where a block stands in a model: what its module may depend on besides its own settings.

    Attributes:
        width: D.
        heads: attention heads.
        layers: layers of the model.
        blocks: blocks of those layers; one that comes before them does not count.
        scan: name of the kernels' backend (`bench.kernels.backends.SCAN_NAMES`).
    """

    width: int
    heads: int
    layers: int
    blocks: int
    scan: str


class Block(Frozen):
    """Settings of one kind of block; subclasses add fields, what it costs and what it builds."""

    stackable: ClassVar[bool] = False
    """Whether `torch.func.vmap` runs its module over a stack of parameters, with the kernels' operators."""

    name: str

    def parameters(self, D: int) -> int:
        """Trainable parameters of its module at width D.

        A block that states no closed form is built to be counted, and only then is torch imported.

        Raises:
            UserError: its module cannot be built at this width.
        """
        from bench.models.counted import parameters

        return parameters(self, D)

    @abstractmethod
    def multiplications(self, L: int, D: int) -> int:
        """Forward multiplications of one prompt of L tokens at width D."""

    @abstractmethod
    def build(self, place: Place) -> nn.Module:
        """A freshly initialised module (B, L, D) → (B, L, D), drawn from torch's global generator."""


class Attention(Block):
    """Causal multi-head attention with biases.

    `init`: "gpt2" draws weights from N(0, 0.02²), the output projection divided by √(2·layers);
    "torch" keeps PyTorch's uniform weights and sets biases to zero (the released hybrids).
    """

    stackable = True

    name: Literal["attention"] = "attention"
    init: Literal["gpt2", "torch"] = "gpt2"

    def parameters(self, D: int) -> int:
        return 4 * D**2 + 4 * D

    def multiplications(self, L: int, D: int) -> int:
        """Table 9: QKV 3LD², outer product and multiply V 2L²D, outer projection LD²."""
        return 4 * L * D**2 + 2 * L**2 * D

    def build(self, place: Place) -> nn.Module:
        from bench.models import attention

        return attention.Attention(self, place.width, place.heads, place.layers)


class MLP(Block):
    """Feed-forward D → 4D → D with tanh-approximated GELU, initialised like GPT-2."""

    stackable = True

    name: Literal["mlp"] = "mlp"
    expand: PositiveInt = 4

    def parameters(self, D: int) -> int:
        return 2 * self.expand * D**2 + (self.expand + 1) * D

    def multiplications(self, L: int, D: int) -> int:
        """Table 9: 8LD² at `expand` 4."""
        return 2 * self.expand * L * D**2

    def build(self, place: Place) -> nn.Module:
        from bench.models import attention

        return attention.MLP(self, place.width, place.layers)


class Mamba(Block):
    """Gu & Dao's selective state-space block: state size N, inner width E·D, short convolution, SiLU gate."""

    stackable = True

    name: Literal["mamba"] = "mamba"
    state: PositiveInt = 16
    expand: PositiveInt = 2
    convolution: PositiveInt = 4

    def rank(self, D: int) -> int:
        """Width of the projection that makes the step size Δ: ⌈D/16⌉."""
        return -(-D // 16)

    def parameters(self, D: int) -> int:
        inner, rank, state = self.expand * D, self.rank(D), self.state
        convolution = inner * (self.convolution + 1)
        return (
            3 * inner * D  # in: D → 2·inner; out: inner → D
            + convolution
            + inner * (rank + 2 * state)  # x → (Δ, B, C)
            + inner * (rank + 1)  # Δ: rank → inner
            + inner * (state + 1)  # A, skip
        )

    def multiplications(self, L: int, D: int) -> int:
        """Table 10: input projection 2LED², SSM 7LEDN + 4LED, output projection LED²."""
        E, N = self.expand, self.state
        return 3 * L * E * D**2 + 7 * L * E * D * N + 4 * L * E * D

    def build(self, place: Place) -> nn.Module:
        from bench.models import mamba

        return mamba.Mamba(self, place.width, place.blocks, place.scan)


class S4(Block):
    """S4D, the diagonal S4 (released code's `s4d`): one time-invariant SSM a channel, GELU, 1×1 mixing, GLU.

    State size N counts real numbers: N/2 complex modes.
    """

    stackable = True

    name: Literal["s4"] = "s4"
    state: PositiveInt = Field(default=16, multiple_of=2)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)

    def parameters(self, D: int) -> int:
        ssm = D * (2 * self.state + 2)  # C (complex), log(−Re A), Im A; Δ, skip
        return ssm + 2 * D**2 + 2 * D

    def multiplications(self, L: int, D: int) -> int:
        """Not in the paper: 1×1 mixing 2LD², recurrence 3LDN, skip and gate 2LD (see `bench.flops`)."""
        return 2 * L * D**2 + 3 * L * D * self.state + 2 * L * D

    def build(self, place: Place) -> nn.Module:
        from bench.models import s4

        return s4.S4(self, place.width, place.scan)


class S4Mamba(Block):
    """Mamba's block with its selective SSM replaced by S4D (§3.1).

    The text says that selection is the only difference to Mamba. The released code has three more,
    kept as the default: dropout 0.1 of whole channels on the SSM's output, a gate without its SiLU,
    and a skip drawn from N(0, 1). `dropout: 0.0`, `gate: silu` and `skip: ones` take them back.
    """

    later_fields: ClassVar[Mapping[str, Any]] = {"skip": "normal"}

    stackable = True

    name: Literal["s4_mamba"] = "s4_mamba"
    state: PositiveInt = Field(default=16, multiple_of=2)
    expand: PositiveInt = 2
    convolution: PositiveInt = 4
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    gate: Literal["identity", "silu"] = "identity"
    skip: Literal["normal", "ones"] = "normal"

    def parameters(self, D: int) -> int:
        inner = self.expand * D
        ssm = inner * (2 * self.state + 2)
        return 3 * inner * D + inner * (self.convolution + 1) + ssm

    def multiplications(self, L: int, D: int) -> int:
        """Not in the paper: Mamba's projections 3LED² and 4LED, recurrence 3LEDN (see `bench.flops`)."""
        E, N = self.expand, self.state
        return 3 * L * E * D**2 + 3 * L * E * D * N + 4 * L * E * D

    def build(self, place: Place) -> nn.Module:
        from bench.models import s4

        return s4.S4Mamba(self, place.width, place.blocks, place.scan)


class LSTM(Block):
    """Long short-term memory (Hochreiter & Schmidhuber 1997), one layer of hidden size D.

    Weights and biases start as PyTorch's, uniform within 1/√D (so does Xie et al.'s code for GINC).
    """

    name: Literal["lstm"] = "lstm"

    def parameters(self, D: int) -> int:
        """Four gates, each from the input and from the hidden state, with a bias each (cuDNN's two)."""
        return 4 * D * (2 * D + 2)

    def multiplications(self, L: int, D: int) -> int:
        """Not in the paper: the gates' projections 8LD², three products with gates 3LD."""
        return 8 * L * D**2 + 3 * L * D

    def build(self, place: Place) -> nn.Module:
        from bench.models import lstm

        return lstm.LSTM(place.width)


class Dropout(Block):
    """Zeroes single values while training: a block of plain stacks, where Xie et al.'s LSTM has 0.2."""

    stackable = True

    name: Literal["dropout"] = "dropout"
    dropout: float = Field(default=0.2, ge=0.0, lt=1.0)

    def parameters(self, D: int) -> int:
        return 0

    def multiplications(self, L: int, D: int) -> int:
        return 0

    def build(self, place: Place) -> nn.Module:
        from torch import nn

        return nn.Dropout(self.dropout)
