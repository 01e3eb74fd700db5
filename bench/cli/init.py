"""`bench init`: a suite to begin with, and on request claims and a plugin."""

from __future__ import annotations

import os
import shlex
from importlib import resources
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from bench.cli import printing
from bench.errors import UserError
from bench.files import utf8, write_atomically
from bench.names import name_fault
from bench.suite import shipped

NAME = "mine"
"""Name of the suite if none is given."""


def command(
    target: Annotated[
        str,
        typer.Argument(
            metavar="DIR|NAME",
            help="A folder to write suites/mine.yaml into, or the name of a suite in suites/.",
        ),
    ] = NAME,
    plugin: Annotated[
        bool, typer.Option("--plugin", help="Also write a plugin: a mixer and a task of your own.")
    ] = False,
    claims: Annotated[bool, typer.Option("--claims", help="Also write a claims file.")] = False,
) -> None:
    """Write a small commented suite to begin with; on request a plugin and claims.

    Files that exist are never overwritten.
    """
    init(target, plugin, claims)


def init(target: str, plugin: bool, claims: bool) -> None:
    """Write the files of a new suite.

    Args:
        target: a folder (an existing one, or a path with a slash), or the name of the suite.
        plugin: also write a plugin, which the suite then uses.
        claims: also write claims.

    Raises:
        UserError: a file exists, the name is not possible, or the target is the name of a file.
    """
    if not Path(target).is_dir() and Path(target).suffix in (".yaml", ".yml"):
        stem = Path(target).stem
        raise UserError(
            f"{target}: expected a folder, or a name without an ending: "
            f"bench init {stem} writes suites/{stem}.yaml"
        )
    is_folder = Path(target).is_dir() or any(mark and mark in target for mark in ("/", os.sep, os.altsep))
    folder, name = (Path(target), NAME) if is_folder else (Path(), target)
    if fault := name_fault(name):
        raise UserError(f"name of the suite: {fault}")
    if name in shipped.paths():
        raise UserError(f"{name}: a suite of this name ships with bench; give another name")
    suite = folder / "suites" / f"{name}.yaml"
    loaded = shlex.quote(suite.with_suffix(".py").as_posix())
    words = {
        "name": name,
        "experiment": "linear",
        "suite": shlex.quote(suite.as_posix()) + (f" --plugin {loaded}" if plugin else ""),
        "plugin": loaded,
        "architecture": ", running_mean" if plugin else "",
    }
    files = {suite: _filled("starter.yaml", words) + (_filled("starter_task.yaml", words) if plugin else "")}
    if claims:
        files[suite.with_suffix(".claims.yaml")] = _filled("starter.claims.yaml", words)
    if plugin:
        files[suite.with_suffix(".py")] = _filled("starter.py.template", words)
    if existing := [str(path) for path in files if path.exists()]:
        raise UserError(f"not written, because {', '.join(existing)} exists; give another name or folder")
    suite.parent.mkdir(parents=True, exist_ok=True)
    out = printing.Output()
    for path, text in files.items():
        write_atomically(path, utf8(text))
        out.say(f"Wrote {path}")
    out.say(f"Next: bench run {words['suite']}")


def _filled(file: str, words: dict[str, str]) -> str:
    """A file of `bench/cli/templates/`, with these words in it."""
    text = resources.files("bench.cli").joinpath("templates", file).read_text(encoding="utf-8")
    return Template(text).substitute(words)
