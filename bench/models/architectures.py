"""The architectures of the paper as patterns of blocks (§5, Figure 6; A.1), described without torch.

A *layer* is two blocks (Figure 6: "2 blocks of either Mamba, multi-head Attention, or a feed forward
network as 1 layer"). An architecture is the blocks that come first, the blocks of one layer, and
whether positions are learned; hybrids are patterns, not classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, PositiveInt, SerializeAsAny

from bench.errors import UserError, did_you_mean
from bench.frozen import Frozen
from bench.models.blocks import MLP, S4, Attention, Block, Mamba, S4Mamba


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
    first: tuple[SerializeAsAny[Block], ...] = ()
    layer: tuple[SerializeAsAny[Block], ...]
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
        self,
        layers: int,
        width: int,
        *,
        length: int = 0,
        n_inputs: int | tuple[int, ...] = 0,
        n_outputs: int = 0,
    ) -> int:
        """Trainable parameters in closed form.

        Without `n_inputs` and `n_outputs` the read-in and read-out are left out: the paper's
        convention for Table 6 (blocks, final LayerNorm, positional table). Tokens of several kinds
        have a read-in each.
        """
        D = self.actual_width(width)
        kinds = (n_inputs,) if isinstance(n_inputs, int) else n_inputs
        read_in = sum((kind + 1) * D for kind in kinds if kind)
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
