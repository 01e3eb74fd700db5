"""The JSON Schema of claims files, for editors that complete and check YAML."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pydantic import Field

from bench import suite
from bench.check.claim import Claim
from bench.check.kinds import Requires
from bench.check.measure import Measure
from bench.frozen import Frozen


class ClaimsFile(Frozen):
    """Claims about one suite."""

    suite: str = Field(description="Name of the suite that the claims are about.")
    requires: Requires = Field(
        default=Requires(), description="What all runs must have in common with the paper's."
    )
    claims: dict[str, Claim] = Field(min_length=1, description="Claims by name.")


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a claims file; names of loaded plugins are part of it."""
    vocabulary = suite.json_schema()["$defs"]
    tasks, architectures, sizes = (
        vocabulary[name]["enum"] for name in ("TaskName", "ArchitectureName", "SizeGroup")
    )
    schema: dict[str, Any] = _without_defaults(ClaimsFile.model_json_schema())
    for definition in schema["$defs"].values():
        _describe(definition)
    fields = schema["$defs"][Measure.__name__]["properties"]
    # A validator accepts a name in place of a mapping, which pydantic cannot describe. Any task name is
    # accepted: a claim may be about a task that does not exist yet (`awaits`).
    fields["task"] |= _named(tasks, {"type": "string"})
    fields["architecture"] |= _named(architectures, {"type": "string", "pattern": r"\+"})
    fields["optimizer"] |= _named(["adam", "adamw"])
    shape = [option for option in fields["size"]["anyOf"] if "$ref" in option]
    fields["size"] |= {"anyOf": [{"enum": sizes}, *shape]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _named(names: Iterable[str], *others: dict[str, Any]) -> dict[str, Any]:
    """A name (one of `names`, or as `others` allow), or a mapping of a name and other fields."""
    name = [{"enum": list(names)}, *others]
    mapping = {"type": "object", "properties": {"name": {"anyOf": name}}, "required": ["name"]}
    return {"anyOf": [*name, mapping]}


def _describe(definition: dict[str, Any]) -> None:
    """Move what a model's docstring says under "Attributes:" to the properties it is about."""
    text, _, attributes = definition.get("description", "").partition("\n\nAttributes:\n")
    definition["description"] = text
    for name, meaning in re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", attributes, re.MULTILINE):
        if name in definition["properties"]:  # not so for a computed attribute
            definition["properties"][name]["description"] = " ".join(meaning.split())


def _without_defaults(schema: Any) -> Any:
    """The schema without defaults: editors would offer them as text to insert."""
    if isinstance(schema, list):
        return [_without_defaults(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _without_defaults(value) for key, value in schema.items() if key != "default"}
