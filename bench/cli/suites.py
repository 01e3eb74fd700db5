"""`bench suites`: the suites that ship with bench."""

from __future__ import annotations

from bench import suite as suites
from bench.check.claims import path_for
from bench.cli import printing
from bench.cli.arguments import Json
from bench.cli.printing import Column
from bench.suite import shipped


def command(json: Json = False) -> None:
    """List the suites that ship with bench. Every command that takes a suite takes their names."""
    show_suites(json)


def show_suites(as_json: bool) -> None:
    """Print every suite that ships with bench: name, runs, description."""
    loaded = {name: suites.load(path) for name, path in shipped.paths().items()}
    out = printing.Output()
    if as_json:
        out.json(
            {
                name: {
                    "path": str(suite.path),
                    "description": suite.description.strip(),
                    "runs": len(suite.runs),
                    "experiments": [experiment.name for experiment in suite.experiments],
                    "claims": path_for(suite.path).is_file(),
                }
                for name, suite in loaded.items()
            }
        )
        return
    columns = [Column("suite"), Column("runs", number=True), Column("description", folds=True, prose=True)]
    rows = [
        (name, f"{len(suite.runs):,}", _first_sentence(suite.description)) for name, suite in loaded.items()
    ]
    out.print(printing.table(out, columns, rows))
    out.say("bench plan NAME lists the runs of a suite; bench init writes one of your own.", "dim")


def _first_sentence(text: str) -> str:
    flat = " ".join(text.split())
    return flat.partition(". ")[0].removesuffix(".")
