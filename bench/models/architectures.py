"""The architectures of the paper as patterns of blocks (§5, Figure 6; A.1), described without torch.

A *block* maps (B, L, D) to (B, L, D) and is used as h + block(LayerNorm(h)). A *layer* is two blocks
(Figure 6: "2 blocks of either Mamba, multi-head Attention, or a feed forward network as 1 layer").
An architecture is the blocks that come first, the blocks of one layer, and whether positions are
learned; hybrids are patterns, not classes.

Each block states its own closed-form parameter count, LayerNorm (2D) included; `bench.flops` states
its multiplications; `bench.models.build` makes it. D is the model width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, PositiveInt

from bench.errors import UserError, did_you_mean
from bench.frozen import Frozen

BlockName = Literal["attention", "mlp", "mamba", "s4", "s4_mamba"]


class Attention(Frozen):
    """Causal multi-head attention with biases.

    `init`: "gpt2" draws weights from N(0, 0.02²), the output projection divided by √(2·layers);
    "torch" keeps PyTorch's uniform weights and sets biases to zero (the released hybrids).
    """

    name: Literal["attention"] = "attention"
    init: Literal["gpt2", "torch"] = "gpt2"

    def parameters(self, width: int) -> int:
        return 4 * width**2 + 6 * width


class MLP(Frozen):
    """Feed-forward D → 4D → D with tanh-approximated GELU, initialised like GPT-2."""

    name: Literal["mlp"] = "mlp"
    expand: PositiveInt = 4

    def parameters(self, width: int) -> int:
        return 2 * self.expand * width**2 + (self.expand + 3) * width


class Mamba(Frozen):
    """Gu & Dao's selective state-space block: state size N, inner width E·D, short convolution, SiLU gate."""

    name: Literal["mamba"] = "mamba"
    state: PositiveInt = 16
    expand: PositiveInt = 2
    convolution: PositiveInt = 4

    def rank(self, width: int) -> int:
        """Width of the projection that makes the step size Δ: ⌈D/16⌉."""
        return -(-width // 16)

    def parameters(self, width: int) -> int:
        inner, rank, state = self.expand * width, self.rank(width), self.state
        convolution = inner * (self.convolution + 1)
        return (
            3 * inner * width  # in: D → 2·inner; out: inner → D
            + convolution
            + inner * (rank + 2 * state)  # x → (Δ, B, C)
            + inner * (rank + 1)  # Δ: rank → inner
            + inner * (state + 1)  # A, skip
            + 2 * width
        )


class S4(Frozen):
    """S4D, the diagonal S4 (released code's `s4d`): one time-invariant SSM a channel, GELU, 1×1 mixing, GLU.

    State size N counts real numbers: N/2 complex modes.
    """

    name: Literal["s4"] = "s4"
    state: PositiveInt = Field(default=16, multiple_of=2)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)

    def parameters(self, width: int) -> int:
        ssm = width * (2 * self.state + 2)  # C (complex), log(−Re A), Im A; Δ, skip
        return ssm + 2 * width**2 + 2 * width + 2 * width


class S4Mamba(Frozen):
    """Mamba's block with its selective SSM replaced by S4D (§3.1).

    The released code differs from "Mamba without selection" in three more ways, kept as the default
    because the text is silent: dropout 0.1 of whole channels on the SSM's output, a gate without
    its SiLU (`gate: silu` restores it), and a skip drawn from N(0, 1).
    """

    name: Literal["s4_mamba"] = "s4_mamba"
    state: PositiveInt = Field(default=16, multiple_of=2)
    expand: PositiveInt = 2
    convolution: PositiveInt = 4
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    gate: Literal["identity", "silu"] = "identity"

    def parameters(self, width: int) -> int:
        inner = self.expand * width
        ssm = inner * (2 * self.state + 2)
        return 3 * inner * width + inner * (self.convolution + 1) + ssm + 2 * width


Block = Attention | MLP | Mamba | S4 | S4Mamba


class Positions(Frozen):
    """A learned table added to the tokens once, before the first block.

    `rows` is what the released configurations allocate (and the paper's Table 6 counts); a longer
    prompt gets as many rows as it has tokens. Rows beyond the prompt never receive a gradient.
    """

    rows: PositiveInt
    std: float = Field(gt=0.0)


class Architecture(Frozen):
    """Blocks that come first, blocks of each layer, positions, and a factor on the nominal width."""

    name: str
    first: tuple[Block, ...] = ()
    layer: tuple[Block, ...]
    positions: Positions | None = None
    width_factor: float = Field(default=1.0, gt=0.0)

    def blocks(self, layers: int) -> tuple[Block, ...]:
        """Every block, in order, of a model of `layers` layers."""
        return self.first + self.layer * layers

    def actual_width(self, width: int) -> int:
        """The model's width at a nominal `width` (S4: ⌊1.75 × width⌋, Table 6's footnote)."""
        return int(self.width_factor * width)

    def position_rows(self, length: int) -> int:
        """Rows of the positional table for prompts of `length` tokens (0: no table)."""
        return max(self.positions.rows, length) if self.positions else 0

    @property
    def base_name(self) -> str:
        """The name without its options: what a variant is a variant of."""
        return self.name.partition("+")[0]

    def needs_heads(self) -> bool:
        return any(isinstance(block, Attention) for block in self.first + self.layer)

    def parameters(
        self, layers: int, width: int, *, length: int = 0, n_inputs: int = 0, n_outputs: int = 0
    ) -> int:
        """Trainable parameters in closed form.

        Without `n_inputs` and `n_outputs` the read-in and read-out are left out: the paper's
        convention for Table 6 (blocks, final LayerNorm, positional table).
        """
        D = self.actual_width(width)
        read_in = (n_inputs + 1) * D if n_inputs else 0
        read_out = (D + 1) * n_outputs
        blocks = sum(block.parameters(D) for block in self.blocks(layers))
        return blocks + 2 * D + self.position_rows(length) * D + read_in + read_out

    def with_options(self, options: Mapping[str, Any]) -> Architecture:
        """This architecture with block fields replaced wherever a block has them.

        The variant's name says so, `s4_mamba+dropout=0.0`: two architectures never share a name.

        Raises:
            UserError: when no block has such a field.
            pydantic.ValidationError: when a value does not fit.
        """
        pattern = self.first + self.layer
        valid = {field for block in pattern for field in type(block).model_fields} - {"name"}
        for option in options:
            if option not in valid:
                raise UserError(f"unknown option '{option}'{did_you_mean(option, sorted(valid))}")

        def changed(block: Block) -> Block:
            mine = {key: value for key, value in options.items() if key in type(block).model_fields}
            return type(block).model_validate({**block.model_dump(), **mine})

        first = tuple(changed(block) for block in self.first)
        layer = tuple(changed(block) for block in self.layer)
        if (first, layer) == (self.first, self.layer):
            return self
        name = "+".join((self.name, *(f"{key}={value}" for key, value in sorted(options.items()))))
        return self.model_copy(update={"name": name, "first": first, "layer": layer})


ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        Architecture(name="transformer", layer=(Attention(), MLP()), positions=Positions(rows=202, std=0.02)),
        Architecture(name="mamba", layer=(Mamba(), Mamba())),
        Architecture(name="s4", layer=(S4(), S4()), width_factor=1.75),
        Architecture(name="s4_mamba", layer=(S4Mamba(), S4Mamba())),
        Architecture(
            name="standard_hybrid",
            layer=(Attention(init="torch"), Mamba()),
            positions=Positions(rows=256, std=1.0),
        ),
        Architecture(name="mambaformer", first=(Mamba(),), layer=(Attention(init="torch"), Mamba())),
    )
}
