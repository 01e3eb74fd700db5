"""An architecture is a pattern of blocks, described without torch.

A *layer* of the paper is two blocks (§5, Figure 6: "2 blocks of either Mamba, multi-head Attention, or a feed
forward network as 1 layer"). Later hybrids have four or eight blocks in a layer. An architecture states
the blocks before the first layer, the blocks of a layer, the blocks that replace the middle of the model, and
whether positions are learned. Hybrids and ablations are patterns too:

    mambaformer        mamba [attention mamba] × layers
    mamba_one_hybrid   mamba mamba mamba attention mamba mamba mamba mamba      (at 4 layers)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, SerializeAsAny, model_validator

from bench.errors import UserError, did_you_mean, raised_in
from bench.frozen import Frozen
from bench.models.mixers.block import Block
from bench.names import option_fault


class Positions(Frozen):
    """A learned table added to the tokens once, before the first block.

    Attributes:
        rows: rows that the released configurations allocate, and that the paper's Table 6 counts. A longer
            prompt gets as many rows as it has tokens. Rows beyond the prompt never receive a gradient.
        std: standard deviation of the initial values.
    """

    rows: PositiveInt
    std: float = Field(gt=0.0)


class ModelOptions(Frozen):
    """Settings of a whole model that a suite may set, as it sets fields of blocks.

    Attributes:
        embedding_dropout: probability of dropping an entry of the tokens in training, after positions are
            added.
        block_input: what a block reads. `previous`: the output of the block before it. `embedding`: the
            embedded tokens, as in the released code of RegBench's LSTM and Mamba (Akyürek et al., 2024). Only
            the last mixer then has an effect. Such a model is that mixer alone, whatever its number of
            layers, without positions, norms, residuals and dropout.
    """

    embedding_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    block_input: Literal["previous", "embedding"] = "previous"


class Architecture(ModelOptions):
    """A pattern of blocks, learned positions, and a factor on the nominal width.

    Attributes:
        first: blocks before the first layer.
        layer: blocks of a layer, in order.
        middle: blocks that replace the same number of blocks in the middle of the layers.
        positions: the learned positions; None for an architecture without them.
        width_factor: actual width over nominal width.
        residual: if true, h + block(norm(h)) with a norm at the end; if false, a plain stack block(h) without
            norms.
        norm: LayerNorm, with weights and biases, or RMSNorm, with weights alone.
        tied: if true, a model of discrete tokens reads out with its embedding; if false, with a read-out of
            its own.
        version: number of the definition. Raise it if the same fields give other numbers than before.
        title: the name in reports and figures; empty for `name`. It is not part of a run's id.
    """

    later_fields: ClassVar[Mapping[str, Any]] = {
        "middle": (),
        "residual": True,
        "norm": "layer",
        "tied": True,
        "embedding_dropout": 0.0,
        "block_input": "previous",
        "version": 1,
    }

    name: str
    first: tuple[SerializeAsAny[Block], ...] = ()
    layer: tuple[SerializeAsAny[Block], ...] = Field(min_length=1)
    middle: tuple[SerializeAsAny[Block], ...] = ()
    positions: Positions | None = None
    width_factor: float = Field(default=1.0, gt=0.0)
    residual: bool = True
    norm: Literal["layer", "rms"] = "layer"
    tied: bool = True
    version: PositiveInt = 1
    title: str = Field(default="", exclude=True)

    @model_validator(mode="after")
    def _middle_fits(self) -> Self:
        if len(self.middle) > len(self.layer):
            raise ValueError(f"a middle of {len(self.middle)} blocks is longer than a layer")
        return self

    @property
    def pattern(self) -> tuple[Block, ...]:
        """The blocks of `first`, `layer` and `middle`, each once."""
        return self.first + self.layer + self.middle

    def options(self) -> Iterator[tuple[str, type[Frozen], Frozen]]:
        """Every option that a suite may set: its name, the class of the field, the object with the value.

        Options of blocks come first, in order. An option that several blocks have occurs once per block.
        """
        for block in self.pattern:
            yield from ((field, type(block), block) for field in type(block).model_fields if field != "name")
        yield from ((field, ModelOptions, self) for field in ModelOptions.model_fields)

    def blocks(self, layers: int) -> tuple[Block, ...]:
        """The blocks of a model with `layers` layers, in order, without blocks that have no effect."""
        if self.is_one_mixer:
            mixer = next(block for block in reversed(self.pattern) if block.name != "dropout")
            return (mixer.first_of_model(),)
        repeated = self.layer * layers
        begin = (len(repeated) - len(self.middle)) // 2
        end = begin + len(self.middle)
        blocks = self.first + repeated[:begin] + self.middle + repeated[end:]
        firsts = {type(block): index for index, block in reversed(list(enumerate(blocks)))}
        return tuple(
            block.first_of_model() if firsts[type(block)] == index else block
            for index, block in enumerate(blocks)
        )

    @property
    def is_one_mixer(self) -> bool:
        """Whether only the last mixer has an effect (`block_input`)."""
        return self.block_input == "embedding"

    @property
    def has_norms(self) -> bool:
        """Whether blocks are residual branches, each after a norm."""
        return self.residual and not self.is_one_mixer

    def actual_width(self, width: int) -> int:
        """The model's width at a nominal `width` (S4: ⌊1.75 × width⌋, Table 6's footnote)."""
        return int(self.width_factor * width)

    def width_fault(self, width: int) -> str | None:
        """Why the architecture has no model of a nominal `width`, as a sentence; None if it has one."""
        D = self.actual_width(width)
        for block in self.pattern:
            try:
                fault = block.width_fault(D)
            except Exception as error:  # a plugin's code can raise anything
                fault = raised_in(error, type(block).__module__)
            if fault:
                return f"block '{block.name}' cannot be {D} wide: {fault}"
        return None

    def position_rows(self, length: int) -> int:
        """Rows of the positional table for prompts of `length` tokens (0: no table)."""
        return max(self.positions.rows, length) if self.positions and not self.is_one_mixer else 0

    @property
    def length_fault(self) -> str | None:
        """Why models are not defined beyond the trained length, as a sentence; None if they are."""
        return "the table of learned positions ends at the trained length" if self.position_rows(1) else None

    @property
    def causal(self) -> bool:
        """Whether no output depends on later tokens. Only an option of a block can make it false."""
        return all(block.is_causal for block in self.pattern)

    @property
    def carries(self) -> bool:
        """Whether a block begins a training step with its state after the step before."""
        return any(block.carries for block in self.pattern)

    @property
    def base_name(self) -> str:
        """The name without options: `s4_mamba` for `s4_mamba+dropout=0.0`."""
        return self.name.partition("+")[0]

    @property
    def uses_heads(self) -> bool:
        """Whether a block depends on the number of heads."""
        return any(block.uses_heads for block in self.pattern)

    def parameters(
        self,
        layers: int,
        width: int,
        *,
        length: int = 0,
        n_inputs: int | tuple[int, ...] = 0,
        n_outputs: int = 0,
        discrete: bool = False,
    ) -> int:
        """Number of trainable parameters in closed form.

        Without `n_inputs` and `n_outputs`, the count excludes the read-in and the read-out. This is the
        convention of the paper's Table 6: blocks with their norms, the final norm, and the table of
        positions. Each kind of token has its own read-in. A discrete task has an embedding of
        `n_inputs` tokens instead of a read-in.
        """
        D = self.actual_width(width)
        kinds = (n_inputs,) if isinstance(n_inputs, int) else n_inputs
        read_in = sum((kind + 1) * D for kind in kinds if kind)
        read_out = (D + 1) * n_outputs
        if discrete:
            read_in, read_out = sum(kinds) * D, 0 if self.tied else read_out
        blocks = self.blocks(layers)
        norm = D if self.norm == "rms" else 2 * D
        norms = norm * (len(blocks) + 1) if self.has_norms else 0
        of_blocks = sum(block.parameters(D) for block in blocks)
        return of_blocks + norms + self.position_rows(length) * D + read_in + read_out

    def state_numbers(self, layers: int, width: int, length: int) -> int | None:
        """How many numbers a model keeps of `length` tokens of a prompt to read the next token.

        It is the sum of `Block.state_numbers` over blocks; None if a block does not state it.
        """
        D = self.actual_width(width)
        states = [block.state_numbers(length, D) for block in self.blocks(layers)]
        return None if None in states else sum(state or 0 for state in states)

    def with_options(self, options: Mapping[str, Any]) -> Architecture:
        """This architecture with fields replaced in every block that has them, or in itself (`ModelOptions`).

        The variant's name lists the fields that differ from the defaults, sorted: `s4_mamba+dropout=0.0`.
        So every architecture has exactly one name, and two architectures never have the same name.

        Raises:
            UserError: no block has such a field, or a value cannot be part of a name.
            pydantic.ValidationError: a value does not fit its field.
        """
        valid = {field for field, _, _ in self.options()}
        for option in options:
            if option not in valid:
                raise UserError(f"unknown option '{option}'{did_you_mean(option, sorted(valid))}")

        def with_fields(block: Block) -> Block:
            fields = {key: value for key, value in options.items() if key in type(block).model_fields}
            return type(block).model_validate({**block.model_dump(), **fields})

        fields = {key: getattr(self, key) for key in type(self).model_fields}
        for key in ("first", "layer", "middle"):
            fields[key] = tuple(map(with_fields, fields[key]))
        own = {key: value for key, value in options.items() if key in ModelOptions.model_fields}
        variant = type(self).model_validate({**fields, **own})
        return variant.model_copy(update={"name": self._name_of(variant)})

    def _name_of(self, variant: Architecture) -> str:
        """The name of a variant: this architecture's, and the options in which the two differ.

        Raises:
            UserError: a value cannot be part of a name.
        """
        differing = {
            key: getattr(after, key)
            for (key, _, before), (_, _, after) in zip(self.options(), variant.options(), strict=True)
            if getattr(after, key) != getattr(before, key)
        }
        for key, value in differing.items():
            if fault := option_fault(str(value)):
                raise UserError(f"{key}: {value!r}: {fault}")
        return "+".join((self.name, *(f"{key}={value}" for key, value in sorted(differing.items()))))
