"""What the README says is true: links, blocks and commands are read. `test_plugins` trains its plugin."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer

from bench import plugins
from bench import suite as suites
from bench.check import claims as claims_of
from bench.cli.app import app
from bench.dispatch.site import load_site
from bench.paper import protocol

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


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_its_suite_and_its_site_file_are_read(tmp_path: Path) -> None:
    site, suite = blocks("yaml")
    (tmp_path / "site.yaml").write_text(site, encoding="utf-8")
    assert load_site(tmp_path / "site.yaml").wants_gpus
    (tmp_path / "mine.yaml").write_text(suite, encoding="utf-8")
    runs = suites.load(tmp_path / "mine.yaml").runs
    assert {run.architecture.base_name for run in runs} == {"transformer", "mamba", "s4_mamba"}
    assert not [run for run in runs if run.architecture.base_name == "s4_mamba" and run.size.width == 32]


def test_its_entry_points_are_those_that_are_looked_for() -> None:
    (text,) = blocks("toml")
    assert tomllib.loads(text)["project"]["entry-points"].keys() <= plugins.GROUPS.keys()


def commands() -> list[str]:
    """Every command line of `bench` that the README has: in blocks, and in backticks."""
    lines = [line.removeprefix("$ ") for text in blocks("console") for line in text.splitlines()]
    lines += [part for text in blocks("sh") for part in re.split(r" && ", text)]
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    lines += [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]
    starts = (re.sub(r"^\S*bin/bench ", "bench ", line.strip()) for line in lines)
    return sorted({line.partition(" > ")[0] for line in starts if line.startswith("bench ")})


def test_it_has_many_commands() -> None:
    assert len(commands()) > 15


@pytest.mark.parametrize("line", commands())
def test_a_command_line_is_one_that_bench_takes(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parsed, not run: some take hours or a cluster."""
    (tmp_path / "gla.py").write_text(blocks("python")[0], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bench.cli.arguments.reserve", lambda: None)
    monkeypatch.setattr(plugins, "load", lambda files: [path.read_bytes() for path in files])
    name, *arguments = shlex.split(line)[1:]
    group = typer.main.get_command(app)
    command = group.commands[name]  # type: ignore[attr-defined]
    if not arguments:  # only named
        return
    with command.make_context(name, arguments):
        pass  # a click.UsageError says what is wrong


def test_options_it_names_belong_to_some_command() -> None:
    group = typer.main.get_command(app)
    options = {
        option
        for command in group.commands.values()  # type: ignore[attr-defined]
        for parameter in command.params
        for option in parameter.opts
    }
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    named = {
        match for code in re.findall(r"`([^`]+)`", prose) for match in re.findall(r"(?<!\S)--[a-z-]+", code)
    }
    assert len(named) > 10
    assert named - options == set()


def test_its_plan_and_its_check_are_those_of_the_quick_suite() -> None:
    suite = suites.load(ROOT / "suites/quick.yaml")
    shown = re.findall(r"^([0-9a-f]{12})  ", README, re.MULTILINE)
    assert len(shown) > 3
    assert set(shown) <= {run.id for run in suite.runs}
    claims = claims_of.load(claims_of.path_for(suite.path), suite).claims
    assert re.findall(r"^reproduced  (\S+)", README, re.MULTILINE) == list(claims)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs the repository's history")
def test_what_the_first_commands_leave_is_not_for_git() -> None:
    left = ["results/linear_regression/new.json", "results/.state/x", "reports/quick/index.html"]
    found = subprocess.run(
        ["git", "check-ignore", *left], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.stdout.split() == left
