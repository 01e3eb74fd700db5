"""Shell completion: what the shell is offered for a half-typed command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import ROOT
from synthetic import run_of, write_pool

from bench.cli import completion
from bench.cli.app import COMMANDS
from bench.models.architectures import ARCHITECTURES
from bench.suite import shipped
from bench.tasks import TASKS


def offered(line: str, folder: Path) -> list[str]:
    """What bash is offered for the last word of a line."""
    script = "import sys; sys.argv[0] = 'bench'; from bench.cli import main; main()"
    variables = {
        "_BENCH_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("bench arch", ["architectures"]),
        ("bench plan qu", ["quick"]),
        ("bench report qu", ["quick"]),
        ("bench check suites/mi", ["suites/mine.yaml"]),
        ("bench run quick --set st", ["steps=", "stop="]),
        ("bench evaluate x --set n_po", ["n_points="]),
        ("bench tasks sparse_p", ["sparse_parity"]),
        ("bench architectures s4_", ["s4_mamba"]),
    ],
)
def test_the_shell_is_offered_what_begins_so(line: str, words: list[str], tmp_path: Path) -> None:
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites/mine.yaml").touch()
    (tmp_path / "suites/mine.claims.yaml").touch()
    (tmp_path / "suites/mine.findings.yaml").touch()
    assert offered(line, tmp_path) == words


@pytest.mark.slow
def test_commands_and_runs_are_offered(tmp_path: Path) -> None:
    assert set(COMMANDS) <= set(offered("bench ", tmp_path))
    run = run_of()
    write_pool(tmp_path / "results", [run])
    assert run.id in offered(f"bench logs {run.id[:3]}", tmp_path)


def test_every_name_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert completion.suite_words("") == list(shipped.paths())
    assert completion.task_names("") == list(TASKS)
    assert completion.architecture_names("") == list(ARCHITECTURES)
    assert completion.suite_words("no/such/folder/x") == []
    assert completion.run_ids("") == []
