"""`bench architectures`: the architectures, their options, and what they cost at a size."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.text import Text

from bench import flops, plugins
from bench.cli import printing
from bench.cli.arguments import Json, Plugins
from bench.cli.completion import architecture_names, task_names
from bench.cli.printing import Column
from bench.docstrings import attributes, description, paragraphs
from bench.errors import OR_A_PLUGIN, UserError, did_you_mean
from bench.frozen import Frozen
from bench.models.architecture import Architecture
from bench.models.architectures import ARCHITECTURES
from bench.models.mixers.block import Block
from bench.models.sizes import LARGEST, Size, size_text
from bench.paper.sizes import SIZE_GROUPS, TABLE_6, group_of, sizes_of
from bench.tasks import TASKS, Task

SIZE = "4x256"
TASK = "linear_regression"
"""Size and task for which costs are shown by default."""


def command(
    plugin: Plugins,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="ARCHITECTURE",
            help="Show this architecture in full.",
            autocompletion=architecture_names,
        ),
    ] = None,
    size: Annotated[
        str,
        typer.Option(help="Layers x width, e.g. 2x128, or the name of a size group (of several sizes)."),
    ] = SIZE,
    task: Annotated[
        str, typer.Option(help="The task, which fixes the length of prompts.", autocompletion=task_names)
    ] = TASK,
    json: Json = False,
) -> None:
    """List the architectures and their cost at a size; with a name, also its options.

    The cost: parameters, FLOPs per token, and the state. With a name: the description of its blocks, its
    options, and its cost at the sizes of Table 6.
    """
    show_architectures(name, size, task, json)


@dataclass(frozen=True)
class Cost:
    """What a model costs.

    Attributes:
        parameters: trainable parameters, read-in and read-out included.
        flops_per_token: training FLOPs of one token, forward and backward, as `bench.flops` counts them.
        state: numbers kept of a prompt to read its next token; None if a block does not state it.
    """

    size: Size
    parameters: int
    flops_per_token: float
    state: int | None

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """The size, the parameters, the FLOPs and the state as text."""
        return (
            size_text(self.size),
            printing.parameters(self.parameters),
            printing.flops(self.flops_per_token),
            "–" if self.state is None else f"{self.state:,}",
        )


def _cost_or_fault(architecture: Architecture, size: Size, task: Task) -> Cost | str:
    """The cost of an architecture of a size on a task, or why there is no such model or no such cost.

    A plugin's fault concerns one architecture: the others are still shown.
    """
    length = task.full_length
    if fault := flops.fault(architecture, size.width, length):
        return fault
    try:
        parameters = architecture.parameters(
            size.layers,
            size.width,
            length=length,
            n_inputs=task.n_inputs,
            n_outputs=task.n_outputs,
            discrete=task.discrete,
        )
    except UserError as error:  # a block cannot be built
        return str(error)
    multiplications = flops.multiplications(architecture, size.layers, size.width, length)
    state = architecture.state_numbers(size.layers, size.width, length)
    return Cost(size, parameters, 6 * multiplications / length, state)


def _cells(size: Size, cost: Cost | str) -> tuple[str, str, str, str]:
    """A size and its cost as text; dashes if there is none."""
    return (size_text(size), "–", "–", "–") if isinstance(cost, str) else cost.cells


COST_COLUMNS = [
    Column("size"),
    Column("parameters", number=True),
    Column("FLOPs/token", number=True),
    Column("state", number=True),
]
"""The columns of `_cells`."""
STATE = "The state: how many numbers of a prompt a model keeps to read the next token."


def show_architectures(name: str | None, size: str, task: str, as_json: bool) -> None:
    """Print all architectures at one size, or one architecture at the sizes of Table 6.

    Raises:
        UserError: an architecture, a size or a task is unknown.
    """
    plugins.load_installed()
    if name is not None and name not in ARCHITECTURES:
        raise UserError(f"unknown architecture '{name}'{did_you_mean(name, ARCHITECTURES, OR_A_PLUGIN)}")
    if task not in TASKS:
        raise UserError(f"--task {task}{did_you_mean(task, TASKS, OR_A_PLUGIN)}")
    example, sizes, out = TASKS[task].example(), _sizes(size), printing.Output()
    if as_json:
        chosen = {key: value for key, value in ARCHITECTURES.items() if name in (None, key)}
        out.json({key: _facts(architecture, sizes, example) for key, architecture in chosen.items()})
    elif name is None:
        _list(sizes, example, out)
    else:
        groups = [group for sizes in TABLE_6.values() for group in sizes]
        _show(ARCHITECTURES[name], list(dict.fromkeys([*groups, *sizes])), example, out)


def _sizes(word: str) -> Sequence[Size]:
    sizes = sizes_of(word)
    if sizes is None:
        near = did_you_mean(word, SIZE_GROUPS)
        raise UserError(
            f"--size {word}: neither layers x width, such as 2x128 (numbers up to {LARGEST:,}), "
            f"nor a size group{near}"
        )
    return sizes


def _blocks(architecture: Architecture) -> list[Block]:
    """The different blocks of an architecture, in order."""
    return list({block.model_dump_json(): block for block in architecture.pattern}.values())


@dataclass(frozen=True)
class Option:
    """A setting of an architecture that a suite may change.

    Attributes:
        option: its name.
        default: its value in this architecture.
        of: the name of the block that has it, or "whole model".
        values: the values that it takes, in words.
        meaning: what it sets; empty if its author does not say.
    """

    option: str
    default: Any
    of: str
    values: str
    meaning: str


def options_of(architecture: Architecture) -> list[Option]:
    """The options of an architecture. Equal blocks count once."""
    options: dict[tuple[str, str, str], Option] = {}
    for name, kind, owner in architecture.options():
        default = getattr(owner, name)
        of = owner.name if isinstance(owner, Block) else "whole model"
        option = Option(name, default, of, _range(kind, name), _meanings(kind).get(name, ""))
        options.setdefault((name, of, str(default)), option)
    return list(options.values())


def _meanings(kind: type) -> dict[str, str]:
    """The meaning of each attribute that the docstrings of a class and of its base classes list."""
    docstrings = [inspect.cleandoc(base.__dict__.get("__doc__") or "") for base in reversed(kind.__mro__)]
    return {name: meaning for text in docstrings for name, meaning in attributes(text).items()}


def _facts(architecture: Architecture, sizes: Sequence[Size], task: Task) -> dict[str, Any]:
    costs = [_cost_or_fault(architecture, size, task) for size in sizes]
    return {
        "pattern": _pattern(architecture),
        "options": [vars(option) for option in options_of(architecture)],
        "heads": architecture.uses_heads,
        "costs": [
            {
                "layers": cost.size.layers,
                "width": cost.size.width,
                "parameters": cost.parameters,
                "flops_per_token": cost.flops_per_token,
                "state": cost.state,
            }
            for cost in costs
            if isinstance(cost, Cost)
        ],
        "faults": list(dict.fromkeys(cost for cost in costs if isinstance(cost, str))),
    }


def _pattern(architecture: Architecture) -> str:
    """The blocks in words: `mamba, then [attention mamba] per layer`."""
    first = "".join(f"{block.name}, then " for block in architecture.first)
    middle = " ".join(block.name for block in architecture.middle)
    layer = " ".join(block.name for block in architecture.layer)
    return f"{first}[{layer}] per layer" + (f", [{middle}] in the middle" if middle else "")


def _list(sizes: Sequence[Size], task: Task, out: printing.Output) -> None:
    columns = [Column("architecture"), Column("blocks", folds=True), *COST_COLUMNS]
    rows, faults, misfits = [], [], False
    for name, architecture in ARCHITECTURES.items():
        for size in sizes:
            cost = _cost_or_fault(architecture, size, task)
            rows.append((name, _pattern(architecture), *_cells(size, cost)))
            if isinstance(cost, str):
                if architecture.width_fault(size.width):
                    misfits = True
                else:
                    faults.append(f"{name}: {cost}")
    out.print(printing.table(out, columns, rows))
    out.say(_how_counted(task), "dim")
    out.say(STATE, "dim")
    if misfits:
        out.say("–: there is no model of this width; bench architectures NAME states why.", "dim")
    for fault in faults:
        out.say(f"–: {fault}", "yellow")
    out.say("bench architectures NAME shows one with its options and sizes; --size sets the size.", "dim")


def _how_counted(task: Task) -> str:
    tokens = task.full_length
    return f"On {task.name} with {tokens} tokens. FLOPs are of training, forward and backward."


def _show(architecture: Architecture, sizes: Sequence[Size], task: Task, out: printing.Output) -> None:
    out.say(f"{architecture.name}: {_pattern(architecture)}")
    for block in {type(block): block for block in _blocks(architecture)}.values():
        out.say("")
        text = paragraphs(description(inspect.cleandoc(type(block).__doc__ or ""))) or "no description"
        out.print(Text(f"{block.name}: {text}"))
    out.say("")
    options = [
        (option.option, _as_in_a_suite(option.default), option.of, option.values, option.meaning)
        for option in options_of(architecture)
    ]
    columns = [Column("option"), Column("default"), Column("of")]
    columns += [Column("values", folds=True), Column("meaning", folds=True, prose=True)]
    out.print(printing.table(out, columns, options))
    out.say("")
    columns = [*COST_COLUMNS, Column("size group")]
    costs = [_cost_or_fault(architecture, size, task) for size in sizes]
    rows = [
        (*_cells(size, cost), group_of(size.layers, size.width) or "")
        for size, cost in zip(sizes, costs, strict=True)
    ]
    out.print(printing.table(out, columns, rows))
    heads = " Attention heads are part of a size." if architecture.uses_heads else ""
    out.say(f"{_how_counted(task)}{heads}", "dim")
    out.say(STATE, "dim")
    for fault in dict.fromkeys(cost for cost in costs if isinstance(cost, str)):
        out.say(f"–: {fault}.", "dim")


def _as_in_a_suite(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _range(kind: type[Frozen], field: str) -> str:
    """The values that a field takes, in words, from its JSON Schema."""
    return _in_words(kind.model_json_schema()["properties"][field])


def _in_words(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return ", or ".join(_in_words(alternative) for alternative in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    bounds = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
        "multipleOf": "a multiple of",
    }
    limits = [f"{words} {schema[key]:g}" for key, words in bounds.items() if key in schema]
    return ", ".join([str(schema.get("type", "")), *limits]).strip(", ")
