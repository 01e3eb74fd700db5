"""Processes that are stopped, die or find no locks: real ones, and what is said of them."""

from __future__ import annotations

import fcntl
import json
import os
import pickle
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from averaging import AVERAGE
from command import PATIENCE, ROOT, bench

from bench import results as pools
from bench.cli import signals
from bench.dispatch import lock
from bench.dispatch.job import Machine
from bench.dispatch.local import LocalPool
from bench.dispatch.order import Order
from bench.dispatch.slurm.submit import CLEANING
from bench.dispatch.state import SILENT_AFTER_SECONDS, Folder
from bench.results import STATE
from bench.train.randomness import random_states, restore_random_states, seed_random

SUITE = """\
name: tiny
experiments:
  tiny:
    tasks: [{name: linear_regression, n_dims: 2, n_points: 4}]
    architectures: [mamba]
    sizes: [{layers: 1, width: 8, heads: 2}]
    learning_rates: [1e-3]
    batch_size: 4
    steps: STEPS
    evaluation_prompts: 8
"""


def write(folder: Path, steps: int = 100_000, architectures: str = "mamba") -> None:
    text = SUITE.replace("STEPS", str(steps)).replace("[mamba]", f"[{architectures}]")
    (folder / "tiny.yaml").write_text(text, encoding="utf-8")


STARTED: list[subprocess.Popen[str]] = []


def start(*arguments: object, cwd: Path, path: str = "") -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", *map(str, arguments)],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (path, str(ROOT))))},
    )
    STARTED.append(process)
    return process


def finished(process: subprocess.Popen[str], code: int) -> str:
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, output
    assert "Traceback" not in output, output
    return output


def beats(folder: Path) -> list[dict[str, object]]:
    found = []
    for path in (folder / "results" / STATE).glob("*/heartbeat.json"):
        try:
            found.append(json.loads(path.read_text()))
        except (OSError, ValueError):
            continue
    return [beat for beat in found if int(beat.get("step", 0)) > 0]


def wait_for_steps(folder: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not beats(folder):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def catches(process: subprocess.Popen[str], number: signal.Signals) -> bool:
    """Whether a process has a handler of its own for a signal."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("SigCgt")]
    return bool(int(line.split()[1], 16) & (1 << (number - 1)))


@pytest.fixture(autouse=True)
def signals_are_not_ignored_and_nothing_is_left() -> Iterator[None]:
    """Under nohup or as a shell's background job, the tests' processes would inherit ignored signals."""
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGINT)}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    for process in STARTED:
        if process.poll() is None:  # its test has failed: it would train on beside the other tests
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    STARTED.clear()


# --- signals ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_every_stop_signal_saves_and_ends_soon_with_its_code(tmp_path: Path, number: signal.Signals) -> None:
    write(tmp_path)
    process = start("run", "tiny.yaml", "--yes", "--workers", 1, cwd=tmp_path)
    wait_for_steps(tmp_path, process)
    assert catches(process, number), "the first process of a container has no default handler"
    began = time.monotonic()
    os.kill(process.pid, number)
    output = finished(process, 128 + number)
    assert time.monotonic() - began < 50  # a second or two where nothing else runs; 60 s if it must be killed
    assert "Saved. Run the same command again to resume." in output
    assert any((tmp_path / "results" / STATE).glob("*/checkpoint.pt"))
    (beat,) = beats(tmp_path)
    assert beat["ended"] == "asked to stop", "the worker was not killed"


@pytest.mark.slow
def test_a_stop_signal_saves_also_when_nobody_reads_the_output(tmp_path: Path) -> None:
    """As in `bench run … | head`, whose reader is gone when the message of the stop is printed."""
    write(tmp_path)
    process = start("run", "tiny.yaml", "--yes", "--workers", 1, cwd=tmp_path)
    wait_for_steps(tmp_path, process)
    assert process.stdout is not None
    process.stdout.close()
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(timeout=PATIENCE) == 128 + signal.SIGTERM
    assert any((tmp_path / "results" / STATE).glob("*/checkpoint.pt"))


@pytest.mark.slow
def test_workers_that_are_told_to_stop_are_said_to_be(tmp_path: Path) -> None:
    write(tmp_path)
    process = start("run", "tiny.yaml", "--yes", "--workers", 1, cwd=tmp_path)
    wait_for_steps(tmp_path, process)
    (beat,) = beats(tmp_path)
    os.kill(int(str(beat["pid"])), signal.SIGTERM)
    output = finished(process, 143)
    assert "told to stop, and saved" in output
    assert "left no result" not in output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_a_worker_is_started_leaves_no_worker_behind(
    tmp_path: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []

    class Process:
        """Stands for a worker: the signal arrives when it is there and `start` has not returned."""

        def __init__(self, **options: object) -> None:
            self.pid, self.exitcode = 2**22 + 1, None

        def start(self) -> None:
            started.append(1)
            # To this thread: another one of the test's process would take what is sent to the process.
            signal.pthread_kill(threading.get_ident(), number)

    def told(number: int, frame: object) -> None:
        raise signals.Terminated(number)

    kept = {each: signal.signal(each, told) for each in (signal.SIGTERM, signal.SIGINT)}
    context = type("Context", (), {"Process": Process})
    monkeypatch.setattr("multiprocessing.get_context", lambda method: context)
    pool = LocalPool([], Order(tmp_path, (), {}), [Machine()])
    try:
        with pytest.raises(signals.Terminated):
            pool.start()
    finally:
        for each, handler in kept.items():
            signal.signal(each, handler)
    assert started == [1]
    assert [len(crew) for crew in pool._crews.values()] == [1]


def test_a_command_without_work_stops_too(tmp_path: Path) -> None:
    write(tmp_path)
    process = start("status", "tiny.yaml", "--watch", cwd=tmp_path)
    deadline = time.monotonic() + PATIENCE
    while not catches(process, signal.SIGTERM):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    finished(process, 143)


def test_codes_are_a_shells() -> None:
    assert signals.exit_code(KeyboardInterrupt()) == 130
    assert signals.exit_code(signals.Terminated(signal.SIGTERM)) == 143
    assert signals.exit_code(signal.SIGHUP) == 129


# --- a plugin that kills its process ------------------------------------------------------------


@pytest.mark.slow
def test_a_plugin_that_kills_its_process_fails_alone(tmp_path: Path) -> None:
    deadly = "        os.kill(os.getpid(), 9)\n        return self.mix"
    source = AVERAGE.replace("        return self.mix", deadly)
    (tmp_path / "mine.py").write_text("import os\n" + source, encoding="utf-8")
    write(tmp_path, steps=5, architectures="averaging, mamba")
    options = ("tiny.yaml", "--plugin", "mine.py")
    output = finished(start("run", *options, "--workers", 1, cwd=tmp_path), 1)
    assert "Done: 1 finished, 1 failed." in output
    assert "averaging" in output
    assert "WorkerDied: killed by SIGKILL, 3 times without progress" in output
    assert "killed by SIGKILL" in bench("failures", *options, cwd=tmp_path).stdout
    failed = next(run for run in _runs(tmp_path) if "averaging" not in run)
    log = (tmp_path / "results" / STATE / "logs").glob("*.log")
    assert any("ended: killed by SIGKILL" in path.read_text() for path in log if path.stem != failed)


def _runs(folder: Path) -> list[str]:
    return list(pools.load(folder / "results").runs)


# --- file systems without locks -----------------------------------------------------------------

NO_LOCKS = """
import errno, fcntl

def flock(file, operation):
    raise OSError(errno.ENOLCK, "No locks available")

fcntl.flock = flock
"""


@pytest.mark.slow
def test_where_there_are_no_locks_everything_trains_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(NO_LOCKS, encoding="utf-8")
    write(tmp_path, steps=5, architectures="mamba, transformer")
    output = finished(start("run", "tiny.yaml", cwd=tmp_path, path=str(tmp_path / "site")), 0)
    assert "Done: 2 finished." in output
    assert len(_runs(tmp_path)) == 2


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(file: object, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", flock)
    monkeypatch.setattr(lock, "_observations", {})


@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_run_has_one_owner(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "run")
    with folder.locked() as mine:
        assert mine
        assert folder.is_locked()
        assert f"process {os.getpid()} on {socket.gethostname()}" in str(folder.held_by())
        with folder.locked() as second:
            assert not second
    assert not folder.is_locked()
    with folder.locked() as mine:
        assert mine
    assert [path.name for path in folder.path.iterdir() if path.name != lock.NAME] == []


@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_dead_owners_run_is_free_at_once(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    record = {"pid": 2**22 + 1, "host": socket.gethostname(), "token": "x"}
    (tmp_path / lock.OWNER).write_text(json.dumps(record))
    with folder.locked() as mine:
        assert mine


@pytest.mark.usefixtures("no_locks")
def test_without_locks_another_machines_run_is_taken_over_when_it_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path)
    (tmp_path / lock.OWNER).write_text(json.dumps({"pid": 1, "host": "elsewhere", "token": "x"}))
    with folder.locked() as mine:
        assert not mine
    assert folder.held_by() == "process 1 on elsewhere"
    now = time.monotonic()
    monkeypatch.setattr(lock.time, "monotonic", lambda: now + lock.STALE_SECONDS - 1)
    os.utime(tmp_path / lock.OWNER, (1, 1))  # renewed, by a clock far behind
    with folder.locked() as mine:
        assert not mine
    monkeypatch.setattr(lock.time, "monotonic", lambda: now + 2 * lock.STALE_SECONDS)
    with folder.locked() as mine:
        assert mine


def test_a_heartbeat_of_a_clock_ahead_is_no_sign_of_life_for_ever(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.beat(step=1)
    path = tmp_path / "heartbeat.json"
    beat = {**json.loads(path.read_text()), "time": time.time() + 86_400, "host": "elsewhere"}
    path.write_text(json.dumps(beat))
    assert folder.alive()
    long_ago = time.time() - 2 * SILENT_AFTER_SECONDS
    os.utime(path, (long_ago, long_ago))
    assert not folder.alive()


def test_the_heartbeat_of_a_stop_is_no_sign_of_life(tmp_path: Path) -> None:
    """Also where the process cannot be looked for: `bench logs --follow` would wait for ten minutes."""
    folder = Folder(tmp_path)
    folder.beat(step=1, host="elsewhere")
    assert folder.alive()
    folder.beat(step=1, host="elsewhere", ended="asked to stop")
    assert not folder.alive()


def test_a_lock_is_not_refused_because_another_process_looks_at_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`bench status` has a shared lock for a moment, in which a worker may try to lock the run."""
    folder = Folder(tmp_path)
    with (tmp_path / lock.NAME).open("wb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        monkeypatch.setattr("time.sleep", lambda seconds: fcntl.flock(looking, fcntl.LOCK_UN))
        with folder.locked() as mine:
            assert mine


def test_a_folder_that_its_owner_removes_meanwhile_is_not_free_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner has stored the result. The worker looks at the run again, and finds that."""
    folder, opened = Folder(tmp_path / "run"), os.open

    def removed(path: str, *more: int, **options: int) -> int:
        shutil.rmtree(folder.path, ignore_errors=True)
        return opened(path, *more, **options)

    with monkeypatch.context() as patch:
        patch.setattr("os.open", removed)
        with folder.locked() as mine:
            assert not mine
    with folder.locked() as mine:
        assert mine


# --- what a shell would expand ------------------------------------------------------------------


def test_a_jobs_last_lines_touch_the_results_they_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.dispatch.slurm import submit as slurm
    from bench.dispatch.slurm.site import Site

    told: dict[str, list[str]] = {}

    class Executor:
        def __init__(self, *arguments: object, **options: object) -> None: ...

        def update_parameters(self, **parameters: list[str]) -> None:
            told.update(parameters)

        def submit_array(self, functions: object) -> list[object]:
            return [type("Job", (), {"job_id": "7_0"})]

    monkeypatch.setattr("submitit.SlurmExecutor", Executor)
    results = tmp_path / "a $HOME 'b' `id`"
    order = Order(results, (), {"commit": None})
    order.folder.mkdir(parents=True)
    for name in ("7_0_0_result.pkl", "7_0_submitted.pkl"):
        (order.folder / name).touch()
    how = slurm.SlurmOptions(Site(), Machine(), snapshot=True)
    assert slurm._submit_array(order, "x", [], how, 1) == "7"
    assert told["teardown"][: len(CLEANING)] == list(CLEANING)
    script = "\n".join(["(exit 3)", *told["setup"], "(exit 3)", *told["teardown"]])
    jobs = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "0", "PATH": os.environ["PATH"]}
    done = subprocess.run(["bash", "-c", script], env=jobs, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "")
    assert list(order.folder.glob("*.pkl")) == []


# --- random states ------------------------------------------------------------------------------


CPU = torch.device("cpu")


def numbers() -> list[float]:
    drawn = [random.random(), random.gauss(), np.random.rand(), np.random.randn(), torch.rand(()).item()]
    return [float(number) for number in drawn]


def test_random_states_come_back_from_a_checkpoint(tmp_path: Path) -> None:
    kept = random_states(CPU)
    try:
        seed_random(2**64 - 1)
        first = numbers()
        torch.save(random_states(CPU), tmp_path / "x.pt")
        second = numbers()
        seed_random(3)
        restore_random_states(torch.load(tmp_path / "x.pt", weights_only=True), CPU)
        assert numbers() == second
        seed_random(2**64 - 1)
        assert numbers() == first
        assert pickle.loads(pickle.dumps(random_states(CPU))).keys() == {"python", "numpy", "torch", "device"}
    finally:
        restore_random_states(kept, CPU)
