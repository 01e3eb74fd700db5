"""The help of the commands: an option has the same words wherever it is, and says its default."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from bench.cli.app import COMMANDS, load

OWN = {
    ("--set", "evaluate"): "settings of a task, not of a suite",
    ("--filter", "withdraw"): "fields of results, such as the commit",
    ("--plugin", "init"): "writes a plugin",
    ("--device", "evaluate"): "one device",
    ("--task", "evaluate"): "the task to score on; elsewhere the task whose length counts",
}
"""Options that differ from those of the same name, and why."""


def options() -> dict[str, dict[str, Any]]:
    """By name and command, every visible option."""
    named: dict[str, dict[str, Any]] = defaultdict(dict)
    for command in COMMANDS:
        for parameter in load(command).params:
            if parameter.param_type_name == "option" and not parameter.hidden:
                named[max(parameter.opts, key=len)][command] = parameter
    return named


def test_an_option_has_the_same_words_in_every_command() -> None:
    for name, commands in options().items():
        same = {
            (option.help, option.metavar, str(option.default))
            for command, option in commands.items()
            if (name, command) not in OWN
        }
        assert len(same) <= 1, f"{name}: {same}"


def test_every_option_is_explained_in_sentences() -> None:
    for name, commands in options().items():
        for command, option in commands.items():
            text = option.help or ""
            assert re.match(r"[A-Z]", text), f"bench {command} {name}: {text}"
            assert text.endswith("."), f"bench {command} {name}: {text}"


@pytest.mark.parametrize(
    ("command", "present"),
    [
        ("plan", True),
        ("run", True),
        ("status", True),
        ("failures", True),
        ("report", False),
        ("check", False),
    ],
)
def test_commands_about_single_runs_take_a_filter_and_a_share(command: str, present: bool) -> None:
    for name in ("--filter", "--shard"):
        assert (command in options()[name]) == present


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_examples_that_it_understands(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other/results").mkdir(parents=True)
    (tmp_path / "results").mkdir()
    assert COMMANDS[command].examples
    for example in COMMANDS[command].examples:
        bench, name, *words = shlex.split(example.partition(" > ")[0])
        assert (bench, name) == ("bench", command)
        load(command).make_context(command, words)
