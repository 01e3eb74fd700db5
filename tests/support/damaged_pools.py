"""Pools of results, damaged at random, and every command that reads results over them.

Whatever is wrong with a file, a command ends in its own words: no traceback, and every file that was
damaged beyond use is named.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer
from synthetic import write_pool
from typer.testing import CliRunner

from bench import suite as suites
from bench.cli.app import app
from bench.errors import UserError
from bench.results import load

SUITE = """
name: damaged
experiments:
  lines:
    rebuilds: Figure 2
    tasks: [linear_regression]
    architectures: [transformer, mamba]
    sizes: [{layers: 2, width: 32}, {layers: 4, width: 64}]
    learning_rates: [1e-3]
    steps: 100
    checkpoints: [50, 100]
  parity:
    rebuilds: Figure 5
    tasks: [sparse_parity]
    architectures: [mamba]
    sizes: [{layers: 2, width: 32}]
    learning_rates: [1e-3]
    steps: 100
    checkpoints: [50, 100]
"""
CLAIMS = """
suite: damaged
requires: {about: these runs}
claims:
  mamba_learns:
    statement: Mamba learns.
    measure: {experiment: lines, task: linear_regression, architecture: mamba}
    bound: {at_most: 0.9}
  mamba_leads:
    statement: Mamba leads.
    order:
      - {experiment: lines, architecture: mamba}
      - {experiment: lines, architecture: transformer}
  parity_is_learned:
    statement: Parity is learned.
    measure: {experiment: parity, of: convergence_step}
    bound: {at_most: 1e9}
"""
ODD: list[Any] = [
    None, True, False, 0, -1, 1, 3, 10**400, 2**63, 1e300, -1e-300, "", "seven", "7", [], {}, [[]], [None],
    {"a": 1}, ["a", "b"], float("nan"), float("inf"), -float("inf"), "\ud800", "\x00", "../../x",
]  # fmt: skip


def pool_in(folder: Path) -> Path:
    """A suite with claims, and a valid result for each of its runs; returns the suite's path."""
    path = folder / "suites" / "damaged.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(SUITE)
    path.with_name("damaged.claims.yaml").write_text(CLAIMS)
    write_pool(folder / "results", suites.load(path).runs)
    return path


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container and key of a nested value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in list(inner):
        yield value, key
        yield from places(child)


def damage(path: Path, chance: random.Random) -> str:
    """Damage one file; returns how, in words."""
    data = path.read_bytes()
    kind = chance.choice(["remove", "change", "swap", "cut", "bytes", "shorten", "several", "duplicate"])
    if kind == "cut":
        path.write_bytes(data[: chance.randrange(len(data))])
        return f"{path.name}: cut"
    if kind == "bytes":
        changed = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        path.write_bytes(changed)
        return f"{path.name}: bytes"
    if kind == "duplicate":
        value = json.loads(data)
        container, key = chance.choice(list(places(value)))
        container[key] = chance.choice(ODD)
        path.with_name(f"copy-{path.name}").write_text(json.dumps(value))
        return f"copy-{path.name}: copied and changed"
    value, told = json.loads(data), []
    for _ in range(chance.randint(2, 5) if kind == "several" else 1):
        there = list(places(value))
        if not there:
            break
        container, key = chance.choice(there)
        how = chance.choice(["remove", "change", "swap", "shorten"]) if kind == "several" else kind
        told.append(f"{how} {key!r}")
        if how == "remove":
            del container[key]
        elif how == "change":
            container[key] = chance.choice(ODD)
        elif how == "shorten":
            lists = [(box, name) for box, name in there if isinstance(box[name], list) and box[name]]
            if lists:
                container, key = chance.choice(lists)
                container[key] = container[key][: chance.randrange(len(container[key]))]
        else:
            other, name = chance.choice(there)
            container[key], other[name] = other[name], container[key]
            with contextlib.suppress(ValueError, RecursionError):
                json.dumps(value)
                continue
            return damage(path, chance)  # a value inside itself
    path.write_text(json.dumps(value))
    return f"{path.name}: {', '.join(told)}"


def commands(folder: Path, suite: Path) -> Iterator[tuple[str, list[str]]]:
    """Every command that reads results, as arguments."""
    pool = ["--results", str(folder / "results")]
    yield "plan", ["plan", str(suite), *pool]
    yield "status", ["status", str(suite), *pool]
    yield "run", ["run", str(suite), "--dry-run", "--device", "cpu", "--workers", "1", *pool]
    yield "check", ["check", str(suite), "--allow-synthetic", *pool]
    yield "compare", ["compare", str(folder / "results"), str(folder / "results")]
    yield "export", ["export", str(folder / "x.csv"), *pool]
    yield "report", ["report", str(suite), "--reports", str(folder / "reports"), *pool]


def ends_well(arguments: list[str]) -> tuple[str, str | None]:
    """What a command printed, and its traceback when it ended in one."""
    runner = CliRunner()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        result = runner.invoke(app, arguments)
    error = result.exception
    if error is None or isinstance(error, SystemExit | UserError | typer.Exit):
        return result.output + (str(error) if isinstance(error, UserError) else ""), None
    return result.output, "".join(traceback.format_exception(error))


def faults_of(seed: int, template: Path, only: Callable[[str], bool] = lambda name: True) -> list[str]:
    """What went wrong over one damaged copy of a pool.

    Args:
        seed: of the damage.
        template: the folder of a pool (`pool_in`).
        only: the commands to try, by name.
    """
    chance = random.Random(seed)
    found: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "pool"
        shutil.copytree(template, folder)
        files = sorted((folder / "results").rglob("*.json"))
        before = {path: path.read_bytes() for path in files}
        told = [damage(path, chance) for path in chance.sample(files, chance.randint(1, 3))]
        pool = load(folder / "results")
        named = "\n".join(pool.problems)
        counted = set(pool.paths.values())
        for path in files:
            if path not in counted and f"{path}: " not in named:
                found.append(f"seed {seed}: {path.name} is neither counted nor named ({told})")
        if any(path.read_bytes() != data for path, data in before.items() if path.name not in " ".join(told)):
            found.append(f"seed {seed}: reading has written")
        for name, arguments in commands(folder, folder / "suites" / "damaged.yaml"):
            if not only(name):
                continue
            with contextlib.redirect_stderr(io.StringIO()):
                output, trace = ends_well(arguments)
            if trace is not None:
                found.append(f"seed {seed}: {name} ({told}): {trace}")
            elif any(problem not in output for problem in pool.problems if not output.startswith("{")):
                missed = next(problem for problem in pool.problems if problem not in output)
                found.append(f"seed {seed}: {name} does not say: {missed}")
    return found


def campaign(count: int, seed: int) -> Iterator[str]:
    """Damage pools of results at random and run every command that reads results over them."""
    with tempfile.TemporaryDirectory() as scratch:
        template = Path(scratch) / "template"
        pool_in(template)
        for number in range(seed, seed + count):
            yield from faults_of(number, template)
