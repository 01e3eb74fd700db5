"""What the README and the guides say is true: links, blocks, commands. `test_plugins` trains the example."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from functools import partial
from pathlib import Path

import pytest
import typer
import yaml
from command import ROOT

from bench import plugins
from bench import suite as suites
from bench.check import claims as claims_of
from bench.check import findings as findings_of
from bench.check.kinds import KINDS
from bench.cli.app import COMMANDS, app, load
from bench.dispatch.slurm.site import load_site
from bench.dispatch.status import WORDS
from bench.kernels.backends import BACKENDS
from bench.models.architectures import LATER
from bench.optimizers import OPTIMIZERS
from bench.paper import protocol
from bench.plan.shard import Shard
from bench.precision import PRECISIONS
from bench.run import SETTINGS
from bench.strict_yaml.document import read
from bench.tasks import TASKS

FILES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in sorted(
        [
            ROOT / "README.md",
            *(ROOT / "suites").glob("*.md"),
            ROOT / "reports/README.md",
            *(ROOT / "bench/guide").glob("*.md"),
            *(ROOT / ".github").glob("*.md"),
        ]
    )
}
"""The README and every guide, by path."""
README = FILES["README.md"]
ALL = "\n".join(FILES.values())
PLUGINS = ROOT / "suites/plugins"


def anchor(heading: str) -> str:
    """The fragment that forges give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def test_every_guide_is_read_and_linked_from_the_readme() -> None:
    guides = FILES.keys() - {"README.md", ".github/CHANGELOG.md"}
    assert len(guides) >= 7
    assert [guide for guide in guides if f"]({guide})" not in README] == []


def test_every_report_is_listed() -> None:
    listed = re.findall(r"^\| \[(\w+)\]\(\1/README\.md\)", FILES["reports/README.md"], re.MULTILINE)
    assert sorted(listed) == sorted(path.parent.name for path in (ROOT / "reports").glob("*/suite.txt"))


@pytest.mark.parametrize("name", FILES)
def test_links_and_pictures_exist(name: str) -> None:
    missing = []
    for target in re.findall(r"\]\(([^)]+)\)", FILES[name]):
        path, _, fragment = target.partition("#")
        file = ((ROOT / name).parent / path).resolve() if path else ROOT / name
        if not file.exists():
            missing.append(target)
        elif fragment:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            missing += [target] if fragment not in map(anchor, headings) else []
    assert missing == []


def test_the_readme_has_links() -> None:
    assert len(re.findall(r"\]\(([^)#]+)\)", README)) > 10


@pytest.mark.parametrize("name", ["see it work", "the tests"])
def test_both_command_lines_stand_behind_their_marks_on_one_line(name: str) -> None:
    match = re.search(rf"^<!-- {name} -->\n```sh\n(.*)\n```$", README, re.MULTILINE)
    assert match, f"<!-- {name} --> is read by CI"
    assert "-c constraints.txt" in match.group(1)


def test_files_and_folders_that_are_named_exist() -> None:
    named = re.findall(r"`((?:bench|suites|tests|reports)/[\w./]+)`", ALL)
    assert len(set(named)) > 20
    examples = {f"suites/{name}.yaml" for name in ("x", "x.claims", "x.findings", "mine", "typo")}
    left = {"reports/quick/index.html"}
    assert [name for name in set(named) - examples - left if not (ROOT / name).exists()] == []


@pytest.mark.slow
def test_commands_and_options_they_name_exist() -> None:
    known = subprocess.run(
        [sys.executable, "-m", "bench", "run", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for option in ("--filter", "--limit", "--dry-run", "--retry", "--yes", "--kernels", "--plugin"):
        assert option in ALL
        assert option in known
    commands = set(re.findall(r"`bench (\w+)", ALL)) | {"plan", "status"}
    shown = subprocess.run(
        [sys.executable, "-m", "bench", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert [command for command in commands if command not in shown] == []


REGISTRIES = {
    "suites/README.md": (
        *(f"| `{setting.key}` |" for setting in SETTINGS.values()),
        *(f"`{name}`" for name in (*TASKS, *OPTIMIZERS)),
        *(f"| `{name}` |" for name in KINDS),
    ),
    "bench/guide/speed.md": (*(f"`{name}`" for name in PRECISIONS), *(f"| `{name}` |" for name in BACKENDS)),
    "bench/guide/architectures.md": tuple(f"| `{architecture.name}` |" for architecture in LATER),
}
"""By guide, how it names every entry of the registries that it describes."""


@pytest.mark.parametrize("guide", REGISTRIES)
def test_guides_describe_every_entry_of_the_registries(guide: str) -> None:
    missing = [entry for entry in REGISTRIES[guide] if entry not in FILES[guide]]
    assert not missing, f"{guide} lacks {', '.join(missing)}"


def test_every_command_is_described() -> None:
    assert COMMANDS.keys() - {line.split()[1] for line in commands()} == set()


def test_the_table_of_states_has_every_state() -> None:
    section = (ROOT / "bench/guide/results.md").read_text("utf-8").split("## States\n")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| (\w+) \|", section, re.MULTILINE)) == {"word", *WORDS}


def test_the_table_of_differences_is_the_codes() -> None:
    (table,) = re.findall(r"<!-- differences -->\n(.*?)\n\n", ALL, re.DOTALL)
    assert table == protocol.markdown()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", ALL, re.MULTILINE | re.DOTALL)


def recipes() -> dict[str, str]:
    """The files for other schedulers in the guides, which begin with a comment of their name, by name."""
    named = {match[1]: text for text in blocks("yaml") if (match := re.match(r"# (\S+\.yaml)\n", text))}
    return named | {"bench.pbs": next(text for text in blocks("sh") if "#PBS" in text)}


def scripts() -> dict[str, str]:
    """The shell scripts in the recipes, by the name of the recipe."""
    sky, job = (yaml.safe_load(recipes()[name]) for name in ("sky.yaml", "job.yaml"))
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["bash", "-c"]
    (script,) = container["args"]
    return {
        "sky.yaml": sky["setup"] + "\n" + sky["run"],
        "job.yaml": script,
        "bench.pbs": recipes()["bench.pbs"],
    }


def test_recipes_mount_what_they_write_and_take_all_shares() -> None:
    sky, job = (yaml.safe_load(recipes()[name]) for name in ("sky.yaml", "job.yaml"))
    assert "/results" in sky["file_mounts"]
    assert list(sky["envs"]) == ["RANK"]
    pod = job["spec"]["template"]["spec"]
    assert (job["apiVersion"], job["kind"], job["spec"]["completionMode"]) == ("batch/v1", "Job", "Indexed")
    assert [mount["name"] for mount in pod["containers"][0]["volumeMounts"]] == [
        volume["name"] for volume in pod["volumes"]
    ]
    for name, variables in (
        ("sky.yaml", [{"RANK": str(rank)} for rank in (1, 2, 3, 4)]),
        ("job.yaml", [{"JOB_COMPLETION_INDEX": str(index)} for index in range(job["spec"]["completions"])]),
        ("bench.pbs", [{"PBS_ARRAY_INDEX": str(index)} for index in (1, 2, 3, 4)]),
    ):
        shares = [
            arguments[arguments.index("--shard") + 1] for arguments in map(partial(started, name), variables)
        ]
        assert shares == ["1/4", "2/4", "3/4", "4/4"]
        assert [Shard.of(share).index for share in shares] == [1, 2, 3, 4]


def started(name: str, variables: dict[str, str]) -> list[str]:
    """The arguments of `bench` in a recipe, as bash expands them; other programs do nothing."""
    script = re.sub(r"\bexec ", "", scripts()[name])
    stubs = "".join(f"{program}() {{ :; }}\n" for program in ("pip", "mkdir", "cd", "source", "qsub"))
    stubs += 'bench() { printf "%s\\n" "$@" >&3; }\n'
    done = subprocess.run(
        ["bash", "-c", f"exec 3>&1 1>/dev/null\n{stubs}{script}"],
        env={"PATH": "/usr/bin:/bin", **variables}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", ["sky.yaml", "job.yaml", "bench.pbs"])
def test_the_script_of_a_recipe_is_shell_and_its_command_is_one_that_bench_takes(name: str) -> None:
    script = scripts()[name]
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    variables = {"RANK": "2", "JOB_COMPLETION_INDEX": "1", "PBS_ARRAY_INDEX": "2"}
    command, *arguments = started(name, variables)
    assert command == "run"
    with load(command).make_context(command, arguments) as context:
        assert context.params["shard"] == "2/4"
        assert context.params["suite"] == "paper"
        assert context.params["yes"] is True


@pytest.mark.parametrize("text", [text for text in blocks("yaml") if text not in recipes().values()])
def test_a_block_of_yaml_is_a_suite_claims_or_a_site_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / "block.yaml"
    path.write_text(text, encoding="utf-8")
    data = read(path).data
    if "experiments" in data:
        assert suites.load(path).runs
    elif "claims" in data:
        suite = suites.load(ROOT / f"suites/{data['suite']}.yaml")
        claims = claims_of.load(path, suite)
        assert claims.claims.keys() == data["claims"].keys()
        assert not claims.awaiting
    elif "findings" in data:
        suite = suites.load(ROOT / f"suites/{data['suite']}.yaml")
        claims = claims_of.load(claims_of.path_for(suite.path), suite).claims
        assert findings_of.load(path, suite, claims).findings
    else:
        assert load_site(path).wants_gpus


def test_there_is_a_block_of_each_kind() -> None:
    kinds = {
        key
        for text in blocks("yaml")
        for key in ("experiments", "claims", "findings", "partition")
        if re.search(rf"^{key}:", text, re.MULTILINE)
    }
    assert kinds == {"experiments", "claims", "findings", "partition"}


def test_the_suite_of_the_guide_means_what_it_says(tmp_path: Path) -> None:
    (text,) = (text for text in blocks("yaml") if text.startswith("name: mine\n"))
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    runs = suites.load(tmp_path / "mine.yaml").runs
    assert {run.architecture.base_name for run in runs} == {"transformer", "mamba", "s4_mamba"}
    assert not [run for run in runs if run.architecture.base_name == "s4_mamba" and run.size.width == 32]


def test_blocks_of_python_are_parts_of_the_plugin() -> None:
    source = (PLUGINS / "gated_linear_attention.py").read_text(encoding="utf-8")
    parts = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert len(parts) == 2
    assert [part for part in parts if part not in source] == []


def test_its_entry_points_are_those_that_are_looked_for() -> None:
    (text,) = blocks("toml")
    assert tomllib.loads(text)["project"]["entry-points"].keys() <= plugins.GROUPS.keys()


def root_options() -> set[str]:
    """Options of `bench` itself."""
    return {option for parameter in typer.main.get_command(app).params for option in parameter.opts}


def prose() -> str:
    return re.sub(r"^```.*?^```$", "", ALL, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Every command line of `bench` in the README and the guides: in blocks, and in backticks."""
    lines = [line.removeprefix("$ ") for text in blocks("console") for line in text.splitlines()]
    lines += [part for text in blocks("sh") for part in re.split(r" && |\n", text)]
    lines += [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose())]
    starts = (re.sub(r"^\S*bin/bench ", "bench ", line.strip()) for line in lines)
    return sorted({line.partition(" > ")[0] for line in starts if line.startswith("bench ")})


def test_they_have_many_commands() -> None:
    assert len(commands()) > 30


@pytest.mark.parametrize("line", commands())
def test_a_command_line_is_one_that_bench_takes(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parsed, not run: some take hours or a cluster."""
    folder = tmp_path / "suites/plugins"
    folder.mkdir(parents=True)
    for path in (PLUGINS / "gated_linear_attention.py", tmp_path / "mine.py"):
        (folder / path.name if path.parent == PLUGINS else path).write_bytes(
            (PLUGINS / "gated_linear_attention.py").read_bytes()
        )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bench.cli.arguments.reserve", lambda: None)
    monkeypatch.setattr(plugins, "load", lambda files: [path.read_bytes() for path in files])
    name, *arguments = shlex.split(line)[1:]
    if name.startswith("-"):
        assert name in root_options()
        return
    command = load(name)
    if not arguments:  # only named
        return
    with command.make_context(name, arguments):
        pass  # a click.UsageError says what is wrong


def test_options_they_name_belong_to_some_command() -> None:
    options = {
        option for command in map(load, COMMANDS) for parameter in command.params for option in parameter.opts
    } | root_options()
    named = {
        match
        for code in re.findall(r"`([^`]+)`", prose())
        if not code.startswith(("pytest ", "ruff ", "git ", "sky "))
        for match in re.findall(r"(?<!\S)--[a-z-]+", code)
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


def test_its_numbers_of_the_papers_grid_are_those_of_the_suite() -> None:
    runs = suites.load(ROOT / "suites/paper.yaml").runs
    assert f"{len(runs):,} runs" in " ".join(README.split())


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs the repository's history")
def test_what_the_first_commands_leave_is_not_for_git() -> None:
    left = ["results/linear_regression/new.json", "results/.state/x", "reports/quick/index.html"]
    found = subprocess.run(
        ["git", "check-ignore", *left], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.stdout.split() == left
