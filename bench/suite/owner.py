"""Which suite file a folder belongs to, so that two suites of one name do not overwrite each other.

Names are not unique: a copied suite file has the name of the original. Therefore a folder contains a note
with the path of its suite file. The path is relative, so that both can move together. A note of a file that
does not exist any more, or has another name now, has no effect.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from bench.errors import InvalidFile, UserError
from bench.strict_yaml.document import read
from bench.suite.load import Suite


def note(suite: Suite, folder: Path) -> str:
    """The path of the suite's file, relative to `folder`."""
    return Path(os.path.relpath(suite.path.resolve(), folder.resolve())).as_posix()


def refuse_other(suite: Suite, folder: Path, noted: object) -> None:
    """Refuse to write into a folder that belongs to another suite file of the same name.

    Raises:
        UserError: with both files.
    """
    if not isinstance(noted, str) or not noted.strip():
        return
    path = Path(os.path.normpath(folder.resolve() / noted.strip()))
    if path == suite.path.resolve() or not path.is_file() or not _has_name(path, suite.base_name):
        return
    raise UserError(_same(suite.name, Path(os.path.relpath(path)), suite.path) + f"; {folder} is the first's")


def refuse_same_names(suites: Iterable[Suite]) -> None:
    """Refuse two suite files with one name, because each would overwrite the report of the other.

    Raises:
        UserError: with both files.
    """
    first: dict[str, Path] = {}
    for suite in suites:
        name = suite.name.casefold()  # some file systems do not tell letters' cases apart
        path = first.setdefault(name, suite.path)
        if path.resolve() != suite.path.resolve():
            raise UserError(_same(suite.name, path, suite.path))


def _same(name: str, first: Path, second: Path) -> str:
    return f"{first} and {second} are both named '{name}': give one of them another `name:`"


def _has_name(path: Path, name: str) -> bool:
    try:
        data = read(path).data
    except InvalidFile:  # it may be in the middle of an edit
        return True
    return isinstance(data, dict) and str(data.get("name")).casefold() == name.casefold()
