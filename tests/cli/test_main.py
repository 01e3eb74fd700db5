"""A command that is told to stop while it starts says nothing and ends with the signal's code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

STOPPED = """\
import importlib.abc, os, runpy, signal, sys

class Stop(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.{number})

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Stop())
sys.argv = ["bench", "plan", "suites/quick.yaml"]
runpy.run_module("bench", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("module", "number", "code"),
    [
        ("bench.cli", "SIGINT", 130),
        ("bench.cli.signals", "SIGINT", 130),
        ("bench.errors", "SIGINT", 130),
        ("bench.errors", "SIGTERM", 143),
        ("bench.cli.app", "SIGHUP", 129),
        ("typer", "SIGINT", 130),
    ],
)
def test_a_stop_during_an_import_ends_without_a_traceback(module: str, number: str, code: int) -> None:
    process = subprocess.run(
        [sys.executable, "-c", STOPPED.format(module=module, number=number)],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (process.returncode, process.stdout, process.stderr) == (code, "", "")
