"""A small `bench run` on processors, killed at random moments with SIGKILL, SIGTERM and SIGINT.

When it was left alone long enough to end, its results are those of a run that nobody disturbed.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from command import ROOT
from toy import TWO_RUNS

from bench import results as pools
from bench.results import STATE

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
CODES = {0, *(-number for number in SIGNALS), 128 + signal.SIGTERM, 128 + signal.SIGINT}
"""How a command may end that a signal was sent to, itself or its workers; negative while Python starts."""
MOST_SECONDS = 120.0


def kills(count: int, seed: int) -> Iterator[str]:
    """The faults of `count` kills."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        undisturbed, fault = _to_the_end(_place(folder / "undisturbed"))
        if fault:
            yield f"undisturbed: {fault}"
            return
        done, place = 0, 0
        while done < count:
            here = _place(folder / str(place))
            place += 1
            for _ in range(min(count - done, chance.randint(3, 8))):
                if fault := _killed(here, chance):
                    yield f"seed {seed} kill {done}: {fault}"
                done += 1
            numbers, fault = _to_the_end(here)
            if fault:
                yield f"seed {seed} after kill {done}: {fault}"
            elif numbers != undisturbed:
                ids = {key for key in numbers | undisturbed if numbers.get(key) != undisturbed.get(key)}
                yield f"seed {seed} after kill {done}: results differ: {', '.join(sorted(ids))}"


def _place(folder: Path) -> Path:
    folder.mkdir()
    (folder / "tiny.yaml").write_text(TWO_RUNS, encoding="utf-8")
    return folder


def _start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench", "run", "tiny.yaml", "--save-every", "0", "--device", "cpu"],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def _killed(folder: Path, chance: random.Random) -> str | None:
    """Start, kill the command, its group or one worker after a while; what went wrong, or None."""
    process = _start(folder)
    if chance.random() < 0.7:  # else at any moment, mostly while it starts
        _wait_for_steps(folder, process)
    time.sleep(chance.uniform(0.0, 1.5))
    number, whom = chance.choice(SIGNALS), chance.choice(["command", "group", "worker"])
    with contextlib.suppress(ProcessLookupError):
        if whom == "group":
            os.killpg(process.pid, number)
        elif whom == "worker" and (workers := _workers(folder, process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(workers), signal.SIGKILL)
            time.sleep(1.0)
            os.kill(process.pid, number)
        else:
            os.kill(process.pid, number)
    try:
        output, _ = process.communicate(timeout=MOST_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return f"goes on {MOST_SECONDS:.0f} s after {number.name} to the {whom}"
    if "Traceback" in output and str(ROOT / "bench") not in output:
        return None  # the interpreter was stopped before it reached the package; what it prints is its own
    if process.returncode not in CODES:
        return f"exit code {process.returncode} after {number.name} to the {whom}: {output[-300:]}"
    return (
        f"a traceback after {number.name} to the {whom}: {output[-600:]}" if "Traceback" in output else None
    )


def _wait_for_steps(folder: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + MOST_SECONDS
    while not any((folder / "results" / STATE).glob("*/checkpoint.pt")):
        if process.poll() is not None or time.monotonic() > deadline:
            return
        time.sleep(0.02)


def _workers(folder: Path, command: int) -> list[int]:
    """Workers of a command that have a run; the numbers of dead ones may be others' by now."""
    pids = []
    for path in (folder / "results" / STATE).glob("*/heartbeat.json"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            pid = int(json.loads(path.read_text())["pid"])
            if int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) == command:
                pids.append(pid)
    return pids


def _to_the_end(folder: Path) -> tuple[dict[str, str], str | None]:
    """Every result without its provenance, by id, once the command was left alone; and what went wrong."""
    process = _start(folder)
    output, _ = process.communicate(timeout=10 * MOST_SECONDS)
    if process.returncode:
        return {}, f"exit code {process.returncode}: {output[-600:]}"
    pool = pools.load(folder / "results")
    left = {path.name for path in (folder / "results" / STATE).glob("*/")} - {"logs", "orders"}
    files = list((folder / "results").glob("*/*.json"))
    if pool.problems or left or len(files) != len(pool.runs) + len(pool.baselines):
        return {}, f"left behind: {pool.problems} {left} {len(files)} files"
    return {
        key: json.dumps(_numbers(result.model_dump(mode="json")), sort_keys=True)
        for key, result in (pool.runs | pool.baselines).items()
    }, None


def _numbers(value: object) -> object:
    """A result without its provenance and without what computing took."""
    if isinstance(value, dict):
        return {key: _numbers(inner) for key, inner in value.items() if key not in ("provenance", "seconds")}
    return [_numbers(inner) for inner in value] if isinstance(value, list) else value
