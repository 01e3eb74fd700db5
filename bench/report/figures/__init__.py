"""How figures are drawn. `bench.paper.exhibits` is the list of those that a suite can name.

Importing this package imports matplotlib with its own defaults. A user's matplotlibrc, MPLBACKEND and
MPLCONFIGDIR are for the user's figures. `bench.report.style.in_style` starts from these defaults.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

_FROM_OUTSIDE = ("MPLBACKEND", "MATPLOTLIBRC")


def _import_matplotlib() -> None:
    """Import matplotlib without settings from outside, unless it is imported already."""
    if "matplotlib" in sys.modules:
        return
    # Its warnings are about settings that are not used and a cache for fonts, which a report does not need.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    with _without_settings():
        importlib.import_module("matplotlib").use("agg")


@contextlib.contextmanager
def _without_settings() -> Iterator[None]:
    """Environment and working folder without settings. A `matplotlibrc` in the working folder would count."""
    settings = {name: os.environ.pop(name) for name in _FROM_OUTSIDE if name in os.environ}
    folder = os.open(".", os.O_RDONLY)
    with tempfile.TemporaryDirectory() as empty:
        # An empty file in place of the one in the user's home folder.
        os.environ["MATPLOTLIBRC"] = str(Path(empty) / "matplotlibrc")
        Path(os.environ["MATPLOTLIBRC"]).touch()
        os.chdir(empty)
        try:
            yield
        finally:
            os.fchdir(folder)
            os.close(folder)
            del os.environ["MATPLOTLIBRC"]
            os.environ.update(settings)


_import_matplotlib()
