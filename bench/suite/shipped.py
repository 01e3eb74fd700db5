"""The suites that ship with bench: found by name, wherever bench is installed.

A clone has them in `suites/`, beside the package. A wheel contains a copy of that folder, `bench/shipped/`.
"""

from __future__ import annotations

from pathlib import Path

from bench.errors import InvalidFile, UserError, did_you_mean

_PACKAGE = Path(__file__).parents[1]


def folder() -> Path:
    """The folder of the suites that ship with bench.

    Raises:
        UserError: this installation has none.
    """
    # In this order: another package may have installed a folder named `suites` beside an installed bench.
    for path in (_PACKAGE / "shipped", _PACKAGE.parent / "suites"):
        if (path / "quick.yaml").is_file():
            return path
    raise UserError(f"{_PACKAGE}: this installation of bench lacks its suites; install it again")


def paths() -> dict[str, Path]:
    """The files of the suites that ship with bench, by name."""
    files = sorted(folder().glob("*.yaml"))
    return {path.stem: path for path in files if is_suite(path)}


def is_suite(path: Path) -> bool:
    """Whether a YAML file is a suite by its name, and not one of claims or findings about a suite."""
    return Path(path.stem).suffix not in (".claims", ".findings")


def locate(word: str) -> Path:
    """The file that a user means by a path or by the name of a suite that ships with bench.

    Raises:
        InvalidFile: there is neither a file nor a suite of this name, or the path cannot be looked at.
    """
    try:
        return _located(word)
    except OSError as error:  # for example a name that is too long
        raise InvalidFile([f"{word}: cannot be read: {error.strerror}"]) from None


def _located(word: str) -> Path:
    path = Path(word)
    if path.is_file():
        return path
    shipped = paths()
    if path.name == word and not path.suffix and (word in shipped or not path.exists()):
        if word in shipped:  # a folder of this name is no suite
            return shipped[word]
        local = [file for file in (Path(f"{word}.yaml"), Path("suites", f"{word}.yaml")) if file.is_file()]
        near = f", did you mean '{local[0]}'?" if local else did_you_mean(word, shipped)
        raise InvalidFile([f"{word}: no such file, and no suite of this name ships with bench{near}"])
    if not path.exists() and path.stem in shipped and path.suffix in (".yaml", ".yml"):
        raise InvalidFile([f"{word}: no such file, did you mean '{path.stem}', which ships with bench?"])
    return path  # its reader reports that it does not exist, and files of similar names
