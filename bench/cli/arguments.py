"""Arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.stdout import reserve
from bench.filters import RUN_FIELDS

SuitePath = Annotated[Path, typer.Argument(metavar="SUITE", help="A suite file, such as suites/quick.yaml.")]
Results = Annotated[
    Path, typer.Option("--results", file_okay=False, help="Folder of results: one pool for all suites.")
]


def _load_plugins(files: list[Path]) -> list[Path]:
    reserve()  # a plugin's prints, now or later, must not mix with the command's output
    if files:
        from bench import plugins

        plugins.load(files)
    return files


Plugins = Annotated[
    list[Path],
    typer.Option(
        "--plugin",
        metavar="FILE",
        callback=_load_plugins,
        envvar="BENCH_PLUGINS",
        default_factory=list,
        show_default=False,
        help="Python file with architectures or tasks of your own; may be repeated.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of tables.")]
Filter = Annotated[
    str | None,
    typer.Option(
        "--filter",
        help="Only runs that match, e.g. 'task=linear_regression architecture=mamba*,s4 size=small'. "
        f"Fields: experiment, {', '.join(RUN_FIELDS)}, size, id, state.",
    ),
]
RESULTS = Path("results")
