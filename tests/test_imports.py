"""The shape of the code: imports go one way, and a command loads what it needs."""

from __future__ import annotations

import ast
import functools
import graphlib
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import forking
import pytest
from command import ROOT
from synthetic import write_pool

from bench import suite as suites

FILES = sorted((ROOT / "bench").rglob("*.py"))


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


MAY_IMPORT = {
    # Ground: knows nothing of bench.
    "docstrings": "",
    "errors": "",
    "files": "",
    "frozen": "",
    "lazy": "",
    "frontier": "",
    "uncertainty": "",
    "names": "",
    "differences": "",
    "digits": "",
    "json_data": "",
    "environment": "",
    "precision": "",
    "kernels": "errors lazy precision",
    # What is learned and what learns it: neither knows the other, nor that a harness exists.
    "tasks": "errors frozen kernels lazy",
    "models": "errors frozen kernels names",
    "words": "models.architecture models.architectures tasks",
    "plugins": "errors frozen models.architecture models.architectures names results.facts tasks",
    # One run, and what it left.
    "flops": "errors models.architecture models.mixers.block tasks.task",
    "paper": "models.sizes tasks",
    "optimizers": "errors frozen kernels lazy",
    "run": "digits flops frozen json_data models.architecture models.sizes optimizers paper.sizes "
    "precision tasks",
    "stack": "json_data models.sizes run",
    "filters": "digits errors models.architectures results run",
    "results": "digits errors files frozen json_data models.architectures models.sizes run tasks uncertainty",
    "selection": "results",
    # From a file to runs.
    "strict_yaml": "errors",
    "suite": "digits errors frozen json_data models.architecture models.architectures models.sizes names "
    "optimizers paper.exhibits paper.sizes plugins run strict_yaml tasks",
    # Training, and who does it where.
    "train": "environment errors files kernels models results run stack tasks",
    "speed": "environment errors files kernels models optimizers paper.sizes precision results run stack "
    "tasks train",
    "dispatch": "environment errors files frozen kernels models plugins results run speed.records stack "
    "strict_yaml tasks train",
    # What is planned, made of results, held against them: from files alone.
    "tracking": "dispatch.state errors files results run",
    "plan": "digits dispatch.stack_sizes dispatch.stacking dispatch.status errors filters models.sizes "
    "results run speed.records stack suite",
    "report": "check differences digits errors files frontier json_data models.architectures models.sizes "
    "optimizers paper results run selection suite tasks uncertainty words",
    "check": "digits docstrings errors files frontier frozen models.architecture models.sizes names "
    "optimizers paper results run selection strict_yaml suite tasks.task uncertainty words",
    # For notebooks: names and values checked as in a suite.
    "api": "dispatch.alone errors flops frozen models optimizers plugins run strict_yaml suite tasks train",
    "other_prompts": "api dispatch.alone environment errors files json_data kernels.backends results run "
    "tasks train",
    # The commands know everything, and nothing knows the commands.
    "cli": "check differences digits dispatch docstrings environment errors files filters flops frozen "
    "json_data kernels models names other_prompts paper plan plugins precision report results run speed "
    "stack suite tasks tracking train.backends_agree",
    "__main__": "cli",
}
"""What each package or module of bench may import, beside itself. A name includes what lies under it."""
LAZY = "api dispatch.alone errors other_prompts results.export train.weights"
"""What `bench` itself imports when a function of the Python API is first used."""

TORCH_AT_IMPORT = {
    "kernels": "*.* branches nvrtc operators running_sum self_test speed triton_sums",
    "models": (
        "backbone convolution dropout embedding linear mixers.*.module rotary step_sizes unit verification"
    ),
    "speed": "measure profile",
    "train": (
        "backends_agree batches capture checkpoint evaluate evaluation_prompts loop meters model optimizer "
        "parallel parameters predictions randomness scoring state step torch_settings weights"
    ),
}
"""The modules that may need torch to be imported at all: `*.*` is every file of a folder but its
`__init__.py`. Everything else opens without it."""


@dataclass(frozen=True)
class Import:
    """One import statement's target.

    Attributes:
        importer: the module it stands in, without `bench.`; "" is bench itself.
        target: what it imports, dotted, in full.
        at_import: whether it happens when the module is imported, rather than in a function or for types.
    """

    importer: str
    target: str
    at_import: bool


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT / "bench").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path) for path in FILES}


def imports_of(path: Path) -> Iterator[Import]:
    """Every import in a file, those inside functions and for type checkers too."""
    name = module_name(path)

    def walk(node: ast.AST, at_import: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(name, alias.name, at_import) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where things come from"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_module = inner.removeprefix("bench.") in MODULES
                yield Import(name, inner if is_module else str(node.module), at_import)
        deferred = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for child in node.body:
                yield from walk(child, False)
            for child in node.orelse:
                yield from walk(child, at_import)
            return
        for child in ast.iter_child_nodes(node):
            yield from walk(child, at_import and not deferred)

    yield from walk(tree_of(path), True)


@functools.cache
def all_imports() -> list[Import]:
    """Every import of bench. Read by the tests, because every process of the tests collects them all."""
    return [each for path in FILES for each in imports_of(path)]


@functools.cache
def inner_imports() -> list[Import]:
    """Every import of bench by bench."""
    return [each for each in all_imports() if each.target.startswith("bench.")]


def within(module: str, name: str) -> bool:
    return module == name or module.startswith(f"{name}.")


def test_every_module_has_its_row_in_the_table() -> None:
    tops = {module.partition(".")[0] for module in MODULES if module}
    assert tops == MAY_IMPORT.keys(), "say in MAY_IMPORT what a new module may import"


def test_modules_import_what_the_table_allows_and_nothing_else() -> None:
    strays = []
    for each in inner_imports():
        target, top = each.target.removeprefix("bench."), each.importer.partition(".")[0]
        allowed = [top, *MAY_IMPORT[top].split()] if top else LAZY.split()
        if not any(within(target, name) for name in allowed):
            strays.append(f"bench.{each.importer} imports {each.target}")
    assert strays == []


def test_the_table_goes_one_way() -> None:
    order = graphlib.TopologicalSorter(
        {name: {each.partition(".")[0] for each in row.split()} for name, row in MAY_IMPORT.items()}
    )
    assert set(order.static_order()) == MAY_IMPORT.keys()  # raises CycleError on a circle


def test_the_table_allows_nothing_that_is_not_used() -> None:
    used = {(each.importer.partition(".")[0], each.target.removeprefix("bench.")) for each in inner_imports()}
    idle = [
        f"{top} may import {name}"
        for top, row in MAY_IMPORT.items()
        for name in row.split()
        if not any(importer == top and within(target, name) for importer, target in used)
    ]
    assert [one for one in idle if "errors" not in one] == []  # anybody may refuse bad input


def test_no_two_modules_need_each_other_to_be_imported() -> None:
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for each in inner_imports():
        if each.at_import:
            graph[each.importer].add(each.target.removeprefix("bench."))
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError on a circle


@pytest.mark.parametrize("package", ["models", "kernels"])
def test_settings_and_what_they_build_do_not_import_each_other_even_later(package: str) -> None:
    graph: dict[str, set[str]] = {module: set() for module in MODULES if within(module, package)}
    for each in inner_imports():
        if within(each.importer, package):
            graph[each.importer].add(each.target.removeprefix("bench."))
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError on a circle


def test_what_knows_slurm_is_in_one_package() -> None:
    users = {each.importer for each in inner_imports() if within(each.target, "bench.dispatch.slurm")}
    core = {user for user in users if within(user, "dispatch") and not within(user, "dispatch.slurm")}
    assert core == {"dispatch.slurm_job"}  # the name in pickles of earlier versions


def test_torch_is_loaded_by_those_who_compute_with_it() -> None:
    torch = {each.importer for each in all_imports() if within(each.target, "torch") and each.at_import}
    patterns = [f"{top}.{name}" for top, row in TORCH_AT_IMPORT.items() for name in row.split()]
    others = [name for name in torch if not any(fnmatch(name, pattern) for pattern in patterns)]
    assert others == [], "plans and reports read these modules: `from bench.lazy import torch` loads it late"
    assert [pattern for pattern in patterns if not any(fnmatch(name, pattern) for name in torch)] == []


def test_figures_and_frames_are_loaded_by_the_report_alone() -> None:
    heavy = ("pandas", "matplotlib", "seaborn", "jinja2")
    users = {
        each.importer
        for each in all_imports()
        if each.at_import and any(within(each.target, name) for name in heavy)
    }
    assert {user.partition(".")[0] for user in users} == {"report"}


def callers(*functions: str) -> set[str]:
    """The modules that call one of the named functions."""
    return {
        module_name(path)
        for path in FILES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in functions
    }


@pytest.mark.slow
def test_only_the_commands_exit_and_print() -> None:
    # `bench.tracking` is a process of its own, whose output is a log.
    assert callers("sys.exit", "exit", "quit", "os._exit") == {"__main__", "cli", "tracking"}
    into_logs = "dispatch.lock dispatch.members dispatch.slurm.job dispatch.worker tracking train.checkpoint"
    assert callers("print") <= {"cli", *into_logs.split()}


def test_every_module_says_what_it_is_for() -> None:
    trees = {module_name(path): tree_of(path) for path in FILES}
    assert [name for name, tree in trees.items() if tree.body and not ast.get_docstring(tree)] == []


FACE = (
    "api check.verdict check.verdicts environment errors files flops frontier models.sizes paper.exhibits "
    "paper.protocol paper.sizes paper.symbols plan.memory plan.planned plan.shard plan.time plugins "
    "report.write results.compare results.evaluations results.export results.long results.reading "
    "results.record results.store results.table results.withdrawn run"
)


@pytest.mark.parametrize(
    "module", [*FACE.split(), "selection", "suite.load", "strict_yaml.document", "tasks.task"]
)
def test_what_others_call_is_documented(module: str) -> None:
    path = ROOT / "bench" / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    bare = [
        node.name
        for node in tree_of(file).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert bare == []


LOADED = """
import sys
from bench.cli import main
sys.argv = ["bench", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert end.code in (0, 2, None), end.code
print(*{name.partition(".")[0] for name in sys.modules}, file=sys.stderr)
"""


def loaded_by(*arguments: object) -> set[str]:
    """The top-level packages that a command has imported when it is done."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    assert done.stdout, done.stderr
    return set(done.stderr.splitlines()[-1].split())


def test_help_loads_nothing_heavy() -> None:
    heavy = {"torch", "pandas", "numpy", "pydantic", "yaml", "matplotlib", "multiprocessing"}
    assert loaded_by("--help") & heavy == set()


@pytest.mark.slow
@pytest.mark.parametrize(("command", "numerics"), [("plan", set()), ("status", set()), ("check", {"numpy"})])
def test_looking_at_a_suite_loads_no_more_numerics_than_it_needs(
    command: str, numerics: set[str], tmp_path: Path
) -> None:
    write_pool(tmp_path, suites.load(ROOT / "suites/quick.yaml").runs[:1])
    loaded = loaded_by(command, "suites/quick.yaml", "--results", tmp_path)
    assert loaded & {"torch", "numpy", "pandas", "matplotlib"} == numerics


@pytest.mark.slow
def test_a_report_loads_no_torch(tmp_path: Path) -> None:
    run = suites.load(ROOT / "suites/quick.yaml").runs[0]
    write_pool(tmp_path / "results", [run])
    options = ("--results", tmp_path / "results", "--reports", tmp_path / "reports")
    loaded = loaded_by("report", "suites/quick.yaml", *options)
    assert "pandas" in loaded
    assert "torch" not in loaded
    assert (tmp_path / "reports/quick/index.html").exists()


def test_public_classes_have_names_of_their_own() -> None:
    """One word for one thing: two public classes of one name would be mistaken for each other."""
    owners: dict[str, list[str]] = {}
    for path in FILES:
        for node in tree_of(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                owners.setdefault(node.name, []).append(module_name(path))
    assert len(owners) > 100
    assert {name: modules for name, modules in owners.items() if len(modules) > 1} == {}


def test_what_tests_import_for_commands_ahead_of_time_exists() -> None:
    """A name that is gone would end the process that starts commands, and all tests of commands with it."""
    names = [*forking.LIGHT, *(name for names in forking.HEAVY.values() for name in names)]
    assert [name for name in names if importlib.util.find_spec(name) is None] == []
