"""The process that forks commands for tests: one command that hangs costs no other test anything."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from command import ROOT, server


@pytest.mark.slow
def test_a_command_that_takes_too_long_is_ended_and_the_next_one_runs(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    endless = ["status", "quick", "--watch"]
    with pytest.raises(TimeoutError):
        server().run(endless, tmp_path, environment, timeout=0.001)
    assert server().run(["--version"], tmp_path, environment, timeout=60).stdout.startswith("bench ")
