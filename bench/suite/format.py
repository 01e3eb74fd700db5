"""The suite format as pydantic models, from which the checks and the JSON Schema follow.

Every setting of a grid is optional here, because `defaults` may contain it. `bench.suite.grid` complains
about a setting that is missing in both. A single value is a list with one entry. Settings of training are
those of `bench.run.SETTINGS`.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Tag,
    TypeAdapter,
    WithJsonSchema,
)
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import CoreSchema, core_schema, to_jsonable_python

from bench import plugins
from bench.frozen import Frozen, with_fields
from bench.models.architecture import Architecture
from bench.models.architectures import ARCHITECTURES
from bench.models.sizes import Count, Size
from bench.names import PATTERN, name_fault
from bench.optimizers import OPTIMIZERS
from bench.paper.sizes import SIZE_GROUPS
from bench.run import SETTINGS, EvaluationPrompts, Run, Steps
from bench.tasks import TASKS, Protocol


class _OneOrMore:
    """Metadata of a list field: a single value is a list with one entry."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def listed(value: Any) -> Any:
            return value if isinstance(value, list) else [value]

        return core_schema.no_info_before_validator_function(listed, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        several = handler(schema)
        return {"anyOf": [several["items"], several]}


def checked_name(name: str) -> str:
    """The name of a suite or an experiment, which becomes the name of a folder.

    Raises:
        ValueError: it cannot be a folder's name, for example because of a space.
    """
    if fault := name_fault(name):
        raise ValueError(fault)
    return name


class _OptimizerSchema:
    """Metadata of a field that takes an optimizer: its name, or a mapping of its name and options."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        kind: Any = functools.reduce(operator.or_, OPTIMIZERS.values())
        mappings = handler(TypeAdapter(Annotated[kind, Field(discriminator="name")]).core_schema)
        return {"anyOf": [{"enum": list(OPTIMIZERS), "type": "string"}, mappings]}


# `bench.suite.entries` checks names when a suite is read, because plugins add names. Pydantic cannot refer to
# a definition of another source, hence a mark that `json_schema` replaces.
_ENTRY = "x-entry"


def _defined_as(definition: str) -> WithJsonSchema:
    return WithJsonSchema({_ENTRY: definition})


TaskEntry = Annotated[Any, _defined_as("TaskEntry")]
ArchitectureEntry = Annotated[Any, _defined_as("ArchitectureEntry")]
SizeEntry = Annotated[Any, _defined_as("SizeEntry")]
Name = Annotated[str, AfterValidator(checked_name), Field(json_schema_extra={"pattern": f"^{PATTERN}$"})]
OptimizerEntry = Annotated[Any, _OptimizerSchema()]


class Every(Frozen):
    """Checkpoints at equal distances."""

    every: Steps = Field(description="Steps between checkpoints.")


Checkpoint = Annotated[
    Annotated[Steps, Tag("step")] | Annotated[Every, Tag("every")],
    Discriminator(lambda value: "every" if isinstance(value, dict | Every) else "step"),
]
NotStated = SkipJsonSchema[None]

LISTED = (
    "tasks",
    "architectures",
    "sizes",
    "protocol",
    *(setting.key for setting in SETTINGS.values() if setting.listed),
    "checkpoints",
)
"""Keys of a grid that take several values."""
if TYPE_CHECKING:
    ZippedKey = str
else:
    ZippedKey = Literal[LISTED[:-1]]
_SOME = Field(min_length=1)
_LISTED = _OneOrMore()


def _setting_type(name: str) -> Any:
    """The type of one value of a setting of training."""
    field = Run.model_fields[name]
    return OptimizerEntry if name == "optimizer" else Annotated[field.annotation, *field.metadata]


def _in_grid(name: str) -> tuple[Any, Any]:
    """Type and default of a setting of training in a grid."""
    setting, field = SETTINGS[name], Run.model_fields[name]
    kind: Any = _setting_type(name)
    if setting.listed:
        default = [] if field.is_required() else [to_jsonable_python(field.default)]
        return Annotated[list[kind], _SOME, _LISTED], Field(default, description=setting.description)
    if field.is_required():
        return kind | NotStated, Field(None, description=setting.description)
    return kind, Field(field.default, description=setting.description)


def _in_point(name: str) -> tuple[Any, Any]:
    """Type and default of a setting of training in a single point or an exclusion."""
    return _setting_type(name) | NotStated, None


@with_fields({setting.key: _in_grid(name) for name, setting in SETTINGS.items()})
class Settings(Frozen):
    """Settings of an experiment. The grid is the product of its lists."""

    tasks: Annotated[list[TaskEntry], _SOME, _LISTED] = Field(
        default=[], description="Tasks to learn: names, or mappings of a name and the task's own fields."
    )
    architectures: Annotated[list[ArchitectureEntry], _SOME, _LISTED] = Field(
        default=[], description="Names, or mappings of a name and options of the architecture's blocks."
    )
    sizes: Annotated[list[SizeEntry], _SOME, _LISTED] = Field(
        default=[], description="Names of size groups, or mappings of layers, width and heads."
    )
    protocol: Annotated[list[Protocol], _SOME, _LISTED] = Field(
        default=["paper"],
        description="Follow the paper's text or its released code where they differ; "
        "sets the task fields that an entry does not state.",
    )
    checkpoints: Annotated[list[Checkpoint], _SOME, _LISTED] = Field(
        default=[],
        description="Steps after which to evaluate, or {every: N}; the last step is always included.",
    )
    evaluation_prompts: EvaluationPrompts = Field(default=1280, description="Prompts in each evaluation set.")
    zip: Annotated[list[ZippedKey], Field(min_length=2)] = Field(
        default=[],
        description="Lists of equal length that are paired, value by value, instead of multiplied.",
    )


@with_fields(
    {name: _in_point(name) for name, setting in SETTINGS.items() if setting.listed and name != "optimizer"}
)
class Exclusion(Frozen):
    """Grid points to leave out: those that match every field."""

    task: Annotated[str | NotStated, _defined_as("TaskName")] = None
    architecture: Annotated[str | NotStated, _defined_as("ArchitectureWord")] = None
    size: Annotated[str | NotStated, _defined_as("SizeGroup")] = None
    layers: Count | NotStated = None
    width: Count | NotStated = None
    heads: Count | NotStated = None
    optimizer: str | NotStated = None
    protocol: Protocol | NotStated = None


@with_fields({name: _in_point(name) for name in SETTINGS})
class Point(Frozen):
    """One run besides the grid. Missing fields come from the experiment if it has one value for them."""

    task: TaskEntry = None
    architecture: ArchitectureEntry = None
    size: SizeEntry = None
    layers: Count | NotStated = None
    width: Count | NotStated = None
    heads: Count | NotStated = None
    protocol: Protocol | NotStated = None
    checkpoints: Annotated[list[Checkpoint], _SOME, _LISTED] = Field(default=[])
    evaluation_prompts: EvaluationPrompts | NotStated = None


class Entry(Settings):
    """One experiment: a grid, exclusions, and single points."""

    rebuilds: str = Field(default="", description="The table or figure of the paper that this rebuilds.")
    description: str = Field(default="", description="What the experiment is for.")
    exclude: list[Exclusion] = Field(default=[], description="Grid points to leave out.")
    points: list[Point] = Field(default=[], description="Runs besides the grid.")


class SuiteFile(Frozen):
    """A suite of experiments."""

    name: Name = Field(description="The suite's name: letters, digits, dots, dashes and underscores.")
    description: str = Field(default="", description="What the suite is for.")
    include: list[str] = Field(
        default=[], description="Suite files whose experiments come first, relative to this one."
    )
    defaults: Settings = Field(default=Settings(), description="Settings of experiments that state no other.")
    experiments: dict[Name, Entry] = Field(default={}, description="Experiments by name.")


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a suite file, for editors and other programs, with the names of plugins."""
    plugins.load_installed()
    schema = _referring(SuiteFile.model_json_schema())
    definitions: dict[str, Any] = schema.setdefault("$defs", {})

    def add(model: type[Frozen], required: list[str]) -> dict[str, Any]:
        own = model.model_json_schema()
        definitions.update(own.pop("$defs", {}))
        definitions[model.__name__] = {**own, "required": required}
        return {"$ref": f"#/$defs/{model.__name__}"}

    def names(definition: str, valid: Iterable[str]) -> dict[str, Any]:
        definitions[definition] = enum = {"enum": list(valid)}
        return enum

    definitions["TaskEntry"] = {
        "description": "A task by name, or with fields of its own.",
        "anyOf": [names("TaskName", TASKS), *(add(task, ["name"]) for task in TASKS.values())],
    }
    definitions["SizeEntry"] = {
        "description": "A size group by name, or one size.",
        "anyOf": [names("SizeGroup", SIZE_GROUPS), add(Size, ["layers", "width"])],
    }
    definitions["ArchitectureWord"] = {
        "description": "An architecture by name, a variant (s4_mamba+dropout=0.0), or a pattern (s4*).",
        "anyOf": [{"$ref": "#/$defs/ArchitectureName"}, {"type": "string", "pattern": r"[+*?\[]"}],
    }
    definitions["ArchitectureEntry"] = {
        "description": "An architecture by name, or with options of its blocks.",
        "anyOf": [names("ArchitectureName", ARCHITECTURES), *map(_options, ARCHITECTURES.values())],
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _referring(schema: Any) -> Any:
    """The schema with references in place of marks, and without defaults that mean "not stated"."""
    if isinstance(schema, list):
        return [_referring(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    meaningful = {
        key: value
        for key, value in schema.items()
        if key != _ENTRY and not (key == "default" and value in (None, [], ""))
    }
    referring = {key: _referring(value) for key, value in meaningful.items()}
    return {"$ref": f"#/$defs/{schema[_ENTRY]}", **referring} if _ENTRY in schema else referring


def _options(architecture: Architecture) -> dict[str, Any]:
    """Schema of an architecture's name with its options."""
    properties: dict[str, Any] = {"name": {"const": architecture.name}}
    for option, kind, _ in architecture.options():
        properties[option] = kind.model_json_schema()["properties"][option]
    return {
        "type": "object",
        "title": architecture.name,
        "properties": properties,
        "required": ["name"],
        "additionalProperties": False,
    }
