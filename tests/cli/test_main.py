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
            {stop}

class Stopping:
    def __set_name__(self, owner, name):
        os.kill(os.getpid(), signal.{number})

    def __repr__(self):
        os.kill(os.getpid(), signal.{number})
        return ""

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
    stop = f"os.kill(os.getpid(), signal.{number})"
    assert ended(module=module, number=number, stop=stop) == (code, "", "")


@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_stop_while_a_class_is_made_is_a_stop_too(number: str, code: int) -> None:
    """Python 3.11 raises a RuntimeError then, whose cause is the stop."""
    stop = 'type("Made", (), {"attribute": Stopping()})'
    assert ended(module="bench.cli.app", number=number, stop=stop) == (code, "", "")


@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_stop_while_pydantic_builds_a_validator_is_a_stop_too(number: str, code: int) -> None:
    """Pydantic raises a SchemaError then, which keeps the stop's text alone."""
    stop = (
        "from pydantic_core import SchemaValidator; "
        'SchemaValidator({"type": "literal", "expected": [Stopping()]})'
    )
    assert ended(module="bench.cli.app", number=number, stop=stop) == (code, "", "")


def ended(**script: str) -> tuple[int, str, str]:
    """The exit code and the output of `bench plan` with STOPPED."""
    process = subprocess.run(
        [sys.executable, "-c", STOPPED.format(**script)],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return process.returncode, process.stdout, process.stderr
