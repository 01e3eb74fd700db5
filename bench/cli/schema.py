"""`bench schema`: the JSON Schema of suite files."""

from __future__ import annotations

from bench.cli.arguments import Plugins
from bench.cli.printing import Output
from bench.suite import json_schema


def command(plugin: Plugins) -> None:
    """Print the JSON Schema of suite files, for editors that complete and check YAML."""
    Output().json(json_schema())
