"""`bench schema`: the JSON Schemas of suites, of claims files and of findings files."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from bench.check import schema as check_schema
from bench.cli.arguments import Plugins
from bench.cli.printing import Output
from bench.suite import json_schema as suite_schema

SCHEMAS = {
    "suite": suite_schema,
    "claims": check_schema.json_schema,
    "findings": check_schema.findings_schema,
}
"""By kind of file: the function that makes its schema."""


def command(
    plugin: Plugins,
    kind: Annotated[
        Literal["suite", "claims", "findings"],
        typer.Argument(metavar="KIND", help="The kind of file: suite, claims or findings."),
    ] = "suite",
) -> None:
    """Print the JSON Schema of suites, claims or findings, for completion and checks in editors."""
    Output().json(SCHEMAS[kind]())
