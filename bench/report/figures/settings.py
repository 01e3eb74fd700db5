"""Matplotlib as every report has it: its own defaults, whatever settings the user or the machine has.

A user's matplotlibrc, MPLBACKEND and MPLCONFIGDIR are for their own figures. This is called before anything
imports matplotlib; `bench.report.style.in_style` then starts from matplotlib's defaults.
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


def import_matplotlib() -> None:
    """Import matplotlib untouched by settings from outside; nothing where it is imported already."""
    if "matplotlib" in sys.modules:
        return
    # What it says of settings that are not used, or of a folder that it cannot cache fonts in, is no news.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    with _without_settings():
        importlib.import_module("matplotlib").use("agg")


@contextlib.contextmanager
def _without_settings() -> Iterator[None]:
    """Environment and working folder without settings: a `matplotlibrc` in the latter counts first."""
    kept = {name: os.environ.pop(name) for name in _FROM_OUTSIDE if name in os.environ}
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
            os.environ.update(kept)
