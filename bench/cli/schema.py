"""`bench schema`: the JSON Schemas of suites and of claims files."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from bench.check.schema import json_schema as claims_schema
from bench.cli.arguments import Plugins
from bench.cli.printing import Output
from bench.suite import json_schema as suite_schema


def command(
    plugin: Plugins,
    kind: Annotated[
        Literal["suite", "claims"], typer.Argument(metavar="[suite|claims]", help="Which kind of file.")
    ] = "suite",
) -> None:
    """Print the JSON Schema of suites or claims files, for editors that complete and check YAML."""
    Output().json(claims_schema() if kind == "claims" else suite_schema())
