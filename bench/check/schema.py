"""The JSON Schemas of claims files and of findings files, for editors that complete and check YAML."""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Iterable
from typing import Any

from pydantic import Field, create_model

from bench import suite
from bench.check.claim import Claim, Requires
from bench.check.findings import SAYS, Finding
from bench.check.kinds import KINDS
from bench.check.quantity import Quantity
from bench.docstrings import attributes
from bench.docstrings import description as described
from bench.frozen import Frozen
from bench.optimizers import OPTIMIZERS


class ClaimsFile(Frozen):
    """Claims about one suite. The schema adds the field `claims`, of all registered kinds."""

    suite: str = Field(description="Name of the suite that the claims are about.")
    requires: Requires = Field(
        default=Requires(), description="What all runs must have in common with the paper's."
    )


class FindingsFile(Frozen):
    """What results of one suite show."""

    suite: str = Field(description="Name of the suite that the findings are about.")
    findings: dict[str, Finding] = Field(min_length=1, description="Findings by name.")


DRAFT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a claims file, for all registered kinds and the names of loaded plugins."""
    vocabulary = suite.json_schema()["$defs"]
    tasks, architectures, sizes = (
        vocabulary[name]["enum"] for name in ("TaskName", "ArchitectureName", "SizeGroup")
    )
    claim: Any = functools.reduce(operator.or_, KINDS.values())
    claims: Any = (dict[str, claim], Field(min_length=1, description="Claims by name."))
    file = create_model("ClaimsFile", __base__=ClaimsFile, claims=claims)
    schema: dict[str, Any] = _without_defaults(file.model_json_schema())
    for name, definition in schema["$defs"].items():
        _describe(definition, definition.get("description", ""))
        if name in {kind.__name__ for kind in KINDS.values()}:
            _describe(definition, inspect.getdoc(Claim) or "")
    fields = schema["$defs"][Quantity.__name__]["properties"]
    # A validator accepts a name in place of a mapping, which pydantic cannot describe. Any task name is
    # accepted: a claim may be about a task that does not exist yet (`awaits`).
    fields["task"] |= _named(tasks, {"type": "string"})
    fields["architecture"] |= _named(architectures, {"type": "string", "pattern": r"\+"})
    fields["optimizer"] |= _named(OPTIMIZERS)
    shape = [option for option in fields["size"]["anyOf"] if "$ref" in option]
    fields["size"] |= {"anyOf": [{"enum": sizes}, *shape]}
    return {"$schema": DRAFT, **schema}


def findings_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a findings file."""
    schema: dict[str, Any] = _without_defaults(FindingsFile.model_json_schema())
    definition = schema["$defs"][Finding.__name__]
    _describe(definition, definition["description"])
    definition["anyOf"] = [{"required": [field]} for field in SAYS]
    return {"$schema": DRAFT, **schema}


def _named(names: Iterable[str], *alternatives: dict[str, Any]) -> dict[str, Any]:
    """A name (one of `names`, or what `alternatives` allow), or a mapping of a name and other fields."""
    name = [{"enum": list(names)}, *alternatives]
    mapping = {"type": "object", "properties": {"name": {"anyOf": name}}, "required": ["name"]}
    return {"anyOf": [*name, mapping]}


def _describe(definition: dict[str, Any], docstring: str) -> None:
    """Describe the properties of a definition by the "Attributes:" of a docstring."""
    definition["description"] = described(definition.get("description", ""))
    for name, meaning in attributes(docstring).items():
        if name in definition["properties"]:  # not so for a computed attribute
            definition["properties"][name]["description"] = meaning


def _without_defaults(schema: Any) -> Any:
    """The schema without defaults: editors would offer them as text to insert."""
    if isinstance(schema, list):
        return [_without_defaults(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _without_defaults(value) for key, value in schema.items() if key != "default"}
