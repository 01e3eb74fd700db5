"""The `bench` command as tests run it: a process of its own, with nobody to ask."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from forking import ROOT as ROOT
from forking import Server

SECONDS = 300
"""Longest duration of a command. Beside other tests, importing torch alone may take 20 s."""
PATIENCE = 180.0
"""Seconds to wait for something that must come, for the same reason."""
READ_LATER = {"COLUMNS", "PYTHONPATH", "BENCH_PLUGINS"}
"""Variables that a fork can get. Others may be read when Python starts, and need a Python of its own."""

_servers: list[Server] = []


def server() -> Server:
    """The process that forks; a new one if a command took too long and ended it."""
    if not _servers or not _servers[-1].alive():
        _servers.append(Server())
    return _servers[-1]


def bench(*arguments: object, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, as from a script: no terminal, and never a traceback."""
    inherited = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    words, variables = list(map(str, arguments)), {**inherited, "PYTHONPATH": str(ROOT), **environment}
    if environment.keys() <= READ_LATER:
        done = server().run(words, cwd, variables, SECONDS)
    else:
        done = subprocess.run(
            [sys.executable, "-m", "bench", *words],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env=variables,
        )
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    return done


def said(done: subprocess.CompletedProcess[str], code: int = 0) -> str:
    """What a command printed, which ended with `code` and complained only if that is no success."""
    assert done.returncode == code, done.stdout + done.stderr
    if code == 0:
        assert done.stderr == ""
    return done.stdout


def as_json(done: subprocess.CompletedProcess[str], code: int = 0) -> Any:
    """The JSON that a command printed."""
    return json.loads(said(done, code), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
