"""What the README says is true: its links resolve, its commands exist. `test_plugins` trains its plugin."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench import protocol

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_links_and_pictures_exist() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert targets
    missing = [target for target in targets if not (ROOT / target).exists()]
    assert missing == []


@pytest.mark.parametrize("name", ["see it work", "the tests"])
def test_both_command_lines_stand_behind_their_marks_on_one_line(name: str) -> None:
    match = re.search(rf"^<!-- {name} -->\n```sh\n(.*)\n```$", README, re.MULTILINE)
    assert match, f"<!-- {name} --> is read by CI"
    assert "-c constraints.txt" in match.group(1)


def test_files_and_folders_of_the_design_table_exist() -> None:
    named = re.findall(r"`(bench/[\w./]+)`", README)
    assert len(set(named)) > 10
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_commands_and_options_it_names_exist() -> None:
    known = subprocess.run(
        [sys.executable, "-m", "bench", "run", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for option in ("--filter", "--limit", "--dry-run", "--retry", "--yes", "--scan", "--plugin"):
        assert option in README
        assert option in known
    commands = set(re.findall(r"`bench (\w+)", README)) | {"plan", "status"}
    shown = subprocess.run(
        [sys.executable, "-m", "bench", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert all(command in shown for command in commands)


def test_the_table_of_differences_is_the_codes() -> None:
    match = re.search(r"<!-- differences -->\n(.*?)\n\n", README, re.DOTALL)
    assert match
    assert match.group(1) == protocol.markdown()


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs the repository's history")
def test_what_the_first_commands_leave_is_not_for_git() -> None:
    left = ["results/linear_regression/new.json", "results/.state/x", "reports/quick/index.html"]
    found = subprocess.run(
        ["git", "check-ignore", *left], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.stdout.split() == left
