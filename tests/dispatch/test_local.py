"""Dispatch with real processes: killed, interrupted, doubled, dead; the results never notice."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from command import PATIENCE, ROOT, said
from command import bench as undisturbed_command
from small_runs import small_run
from toy import TWO_RUNS, toy_suite

from bench import results as pools
from bench import suite as suites
from bench.dispatch.job import Machine, Seat, is_done
from bench.dispatch.local import MOST_DEATHS, LocalPool
from bench.dispatch.machines import machines
from bench.dispatch.order import Order
from bench.dispatch.stacking import record_members
from bench.dispatch.state import Folder, process_exists
from bench.dispatch.status import run_status
from bench.errors import UserError
from bench.results import STATE, Pool
from bench.stack import Stack


@pytest.fixture
def suite_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TWO_RUNS)
    return path


def bench(*arguments: object, cwd: Path) -> subprocess.Popen[str]:
    """The command in a process group of its own, so that the whole of it can be killed."""
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *map(str, arguments)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, output
    return output


def numbers(results: Path) -> dict[str, str]:
    """Every result without its provenance, as bytes."""
    pool = pools.load(results)
    assert pool.problems == []
    return {run_id: result.model_dump_json(exclude={"provenance"}) for run_id, result in pool.runs.items()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the suite, trained by one command that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "tiny.yaml").write_text(TWO_RUNS)
    said(undisturbed_command("run", "tiny.yaml", "--workers", 1, cwd=folder))
    left = {path.name for path in (folder / "results" / STATE).glob("*/")}
    assert left == {"logs"}, "state of finished runs is cleared; what was printed is kept"
    return folder / "results"


@pytest.fixture(scope="module")
def undisturbed(trained: Path) -> dict[str, str]:
    return numbers(trained)


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)


def saved(results: Path) -> dict[Path, int]:
    """The checkpoints of runs in training, with the times at which they were written."""
    times = {}
    for path in (results / STATE).glob("*/checkpoint.pt"):
        with contextlib.suppress(FileNotFoundError):  # its run has just finished
            times[path] = path.stat().st_mtime_ns
    return times


def start_and_save(suite_file: Path) -> subprocess.Popen[str]:
    """A command that has gone on with some run and saved it, or has ended."""
    results = suite_file.parent / "results"
    before = saved(results)
    process = bench("run", suite_file, "--save-every", 0, cwd=suite_file.parent)
    wait_for(lambda: saved(results).items() - before.items() or process.poll() is not None)
    return process


@pytest.mark.slow
def test_interrupted_and_killed_at_random_moments_the_results_are_the_same_bytes(
    suite_file: Path, undisturbed: dict[str, str]
) -> None:
    results, chance = suite_file.parent / "results", random.Random(7)
    process = start_and_save(suite_file)
    os.kill(process.pid, signal.SIGINT)
    assert "Run the same command again to resume." in finish(process, code=130)
    states = [run_status(run, results, pools.load(results)) for run in suites.load(suite_file).runs]
    assert any(state.note == "interrupted; resumable" for state in states)
    assert all(state.word in ("missing", "finished") for state in states)
    for _ in range(2):
        process = start_and_save(suite_file)
        time.sleep(chance.uniform(0.0, 0.5))
        with contextlib.suppress(ProcessLookupError):  # it had nothing left to do
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    said(undisturbed_command("run", suite_file, "--workers", 1, cwd=suite_file.parent))
    assert numbers(results) == undisturbed
    resumptions = [result.provenance.resumptions or 0 for result in pools.load(results).runs.values()]
    assert max(resumptions) >= 1


@pytest.mark.slow
def test_workers_leave_when_their_parent_is_killed(suite_file: Path) -> None:
    results = suite_file.parent / "results"
    process = start_and_save(suite_file)
    runs = suites.load(suite_file).runs
    beats = [beat for run in runs if (beat := Folder.of(results, run.id).heartbeat())]
    assert beats
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    wait_for(lambda: not any(process_exists(beat["pid"]) for beat in beats))
    assert not all(run.id in pools.load(results).runs for run in runs), "they did not train to the end"


@pytest.mark.slow
def test_two_commands_share_the_work(suite_file: Path, undisturbed: dict[str, str]) -> None:
    first, second = (bench("run", suite_file, "--workers", 1, cwd=suite_file.parent) for _ in range(2))
    finish(first), finish(second)
    assert numbers(suite_file.parent / "results") == undisturbed


def interrupt(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGINT)
    assert "Run the same command again to resume." in finish(process, code=130)


@pytest.mark.slow
def test_runs_that_have_begun_are_finished_before_others_begin(suite_file: Path) -> None:
    """Two workers, and two begun runs of one shape. The suite has a run before them, and other shapes."""
    architectures, rates = ["transformer", "s4_mamba"], [1e-3, 2e-3, 4e-3]
    suite_file.write_text(toy_suite(architectures=architectures, learning_rates=rates, steps=100_000))
    results = suite_file.parent / "results"
    options = (suite_file, "--workers", 2, "--for", "9m", "--yes", "--save-every", 0)
    begun = {run.id for run in suites.load(suite_file).runs if run.architecture.name == "transformer"}
    begun.remove(next(run.id for run in suites.load(suite_file).runs if run.id in begun))
    some = "architecture=transformer learning_rate=2e-3,4e-3"
    process = bench("run", *options, "--filter", some, cwd=suite_file.parent)
    wait_for(lambda: len(saved(results)) == 2 or process.poll() is not None)
    interrupt(process)
    before = saved(results)
    assert {path.parent.name for path in before} == begun
    process = bench("run", *options, cwd=suite_file.parent)
    wait_for(lambda: len(saved(results).items() - before.items()) >= 2 or process.poll() is not None)
    interrupt(process)
    assert {path.parent.name for path in saved(results)} == begun


@pytest.mark.slow
def test_a_stack_of_which_another_process_holds_a_member_is_waited_for(suite_file: Path) -> None:
    """Its other member would start over alone. The worker trains other runs meanwhile."""
    architectures, rates = ["transformer", "mamba"], [1e-3, 2e-3]
    suite_file.write_text(toy_suite(architectures=architectures, learning_rates=rates, steps=600))
    results, runs = suite_file.parent / "results", suites.load(suite_file).runs
    options = (suite_file, "--workers", 1, "--stack", 2, "--save-every", 0)
    process = bench("run", *options, "--filter", "architecture=transformer", cwd=suite_file.parent)
    wait_for(lambda: saved(results) or process.poll() is not None)
    interrupt(process)
    before = saved(results)
    assert len(before) == 1
    stack = [run for run in runs if run.architecture.name == "transformer"]
    others = {run.id for run in runs} - {run.id for run in stack}
    with held_by_another(Folder.of(results, stack[1].id).path):
        process = bench("run", *options, cwd=suite_file.parent)
        wait_for(lambda: others <= pools.load(results).runs.keys() or process.poll() is not None)
        assert saved(results) == before
    finish(process)
    for run in stack:
        provenance = pools.load(results).runs[run.id].provenance
        assert provenance.stack is not None
        assert (provenance.stack.members, provenance.resumptions) == (2, 1)


def processor_seconds() -> float:
    """Time that child processes have computed. Other tests on the same processors do not add to it."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


@pytest.mark.slow
def test_a_finished_suite_does_nothing_quickly_and_says_so(suite_file: Path, trained: Path) -> None:
    shutil.copytree(trained, suite_file.parent / "results")
    files = {path: path.stat().st_mtime_ns for path in (suite_file.parent / "results").glob("**/*.json")}
    before = processor_seconds()
    output = finish(bench("run", suite_file, cwd=suite_file.parent))
    assert processor_seconds() - before < 6  # two seconds; no worker and no torch is started
    assert "Nothing to do." in output
    assert files == {
        path: path.stat().st_mtime_ns for path in (suite_file.parent / "results").glob("**/*.json")
    }


def _hold(path: Path, ready: Any) -> None:
    with Folder(path).locked() as mine:
        assert mine
        ready.set()
        time.sleep(2 * PATIENCE)


@contextlib.contextmanager
def held_by_another(path: Path) -> Iterator[multiprocessing.Process]:
    """Another process that owns the run of a folder."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_hold, args=(path, ready))
    process.start()
    assert ready.wait(PATIENCE)
    yield process  # type: ignore[misc]
    process.kill()
    process.join()


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[multiprocessing.Process]:
    with held_by_another(tmp_path / "run") as process:
        yield process


def test_a_run_has_one_owner_and_a_dead_owners_run_is_free(
    tmp_path: Path, owner: multiprocessing.Process
) -> None:
    folder = Folder(tmp_path / "run")
    with folder.locked() as mine:
        assert not mine
    owner.kill()
    owner.join()
    with folder.locked() as mine:
        assert mine


def test_states_are_different_words(suite_file: Path) -> None:
    results, pool = suite_file.parent / "results", Pool()
    run = suites.load(suite_file).runs[0]
    assert run_status(run, results, pool).word == "missing"
    folder = Folder.of(results, run.id)
    folder.beat(step=7, steps=800, steps_per_second=3.0, loss=1.5)
    running = run_status(run, results, pool)
    assert (running.word, running.step, running.loss) == ("running", 7, 1.5)
    beat = json.loads((folder.path / "heartbeat.json").read_text())
    (folder.path / "heartbeat.json").write_text(json.dumps({**beat, "pid": 2**22 + 1}))
    assert run_status(run, results, pool).word == "missing"  # its process does not exist
    try:
        raise MemoryError("out of memory on a very small machine")
    except MemoryError as error:
        folder.fail(error)
    failed = run_status(run, results, pool)
    assert (failed.word, failed.note) == ("failed", "MemoryError: out of memory on a very small machine")
    failure = folder.failure()
    assert failure is not None
    assert "test_states_are_different_words" in failure["traceback"]
    folder.forget_failure()
    assert run_status(run, results, pool).word == "missing"


def dead_process() -> BaseProcess:
    """A process that has ended with exit code 9."""
    process = multiprocessing.get_context("spawn").Process(target=os._exit, args=(9,))
    process.start()
    process.join()
    return process


def test_a_run_that_keeps_killing_its_worker_has_failed(suite_file: Path) -> None:
    results = suite_file.parent / "results"
    run = suites.load(suite_file).runs[0]
    pool = LocalPool([run], Order(results, (run.id,), {}), [Machine()])
    for _ in range(MOST_DEATHS):
        process = dead_process()
        folder = Folder.of(results, run.id)
        folder.beat(step=1, pid=process.pid)
        assert not folder.failure()
        pool._record_death([process], 9)
    failure = Folder.of(results, run.id).failure()
    assert failure is not None
    assert failure["class"] == "WorkerDied"
    assert not is_done(run, results)


def test_a_death_counts_once(tmp_path: Path) -> None:
    """Several processes of a crew may see it, and the heartbeat stays for its progress."""
    run = suites.load(ROOT / "suites/quick.yaml").runs[0]
    pool = LocalPool([run], Order(tmp_path, (run.id,), {}), [Machine()])
    process = dead_process()
    folder = Folder.of(tmp_path, run.id)
    folder.beat(step=1, pid=process.pid)
    for _ in range(2):
        pool._record_death([process], 9)
        assert folder.deaths() == 1
    assert folder.last_progress() == (1, 0)


def test_an_evaluation_that_gets_further_between_deaths_is_progress(tmp_path: Path) -> None:
    folder = Folder.of(tmp_path, "0123456789ab")
    counts = []
    for step, parts in ((7, 0), (7, 1), (7, 1), (7, 4), (8, 0), (8, 0)):
        folder.beat(step=step, parts=parts)
        counts.append(folder.record_death())
    assert counts == [1, 1, 2, 1, 1, 2]


def test_a_death_is_not_that_of_a_worker_with_the_same_number_on_another_machine(tmp_path: Path) -> None:
    run = suites.load(ROOT / "suites/quick.yaml").runs[0]
    pool = LocalPool([run], Order(tmp_path, (run.id,), {}), [Machine()])
    process = dead_process()
    folder = Folder.of(tmp_path, run.id)
    folder.beat(step=1, pid=process.pid, host="another")
    pool._record_death([process], 9)
    assert folder.heartbeat() is not None
    assert "died" not in (folder.heartbeat() or {})
    assert folder.deaths() == 0


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The ids of the jobs of every worker that a pool starts, in its order. No process starts."""
    started: list[list[str]] = []

    class Context:
        @staticmethod
        def Process(target: Any, args: Any, name: str) -> Any:  # noqa: N802
            started.append([job.id for job in args[0].value])
            return type("Started", (), {"start": lambda self: None})()

    monkeypatch.setattr("multiprocessing.get_context", lambda method: Context)
    return started


def test_workers_begin_at_different_shapes_and_never_at_one_run(
    tmp_path: Path, started: list[list[str]]
) -> None:
    runs = [
        small_run(name, learning_rate=rate) for name in ("mamba", "s4") for rate in (1e-4, 1e-3, 1e-2, 1e-1)
    ]
    LocalPool(list(runs), Order(tmp_path, (), {}), [Machine()] * 4).start()
    ids = [run.id for run in runs]
    assert [jobs[0] for jobs in started] == [ids[0], ids[4], ids[1], ids[5]]
    assert all(sorted(jobs) == sorted(ids) for jobs in started)


def test_workers_begin_where_runs_have_begun_once_in_each_stack(
    tmp_path: Path, started: list[list[str]]
) -> None:
    runs = [
        small_run(name, learning_rate=rate) for name in ("mamba", "s4") for rate in (1e-4, 1e-3, 1e-2, 1e-1)
    ]
    stack = Stack.of(*runs[1:3])
    record_members(stack, tmp_path)
    for identifier in (stack.id, runs[3].id):
        folder = Folder.of(tmp_path, identifier).path
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "checkpoint.pt").write_bytes(b"something")
    LocalPool([runs[0], *runs[4:], *runs[1:4]], Order(tmp_path, (), {}), [Machine()] * 4).start()
    assert {started[0][0], started[1][0]} == {runs[1].id, runs[3].id}
    assert [jobs[0] for jobs in started[2:]] == [runs[0].id, runs[4].id]


def test_the_tasks_that_share_a_crew_agree_where_it_begins(tmp_path: Path, started: list[list[str]]) -> None:
    """A checkpoint may appear between the starts of two tasks."""
    runs = [small_run(learning_rate=rate) for rate in (1e-4, 1e-3)]
    for seat in (Seat(0, 2, "127.0.0.1:1"), Seat(1, 2, "127.0.0.1:1")):
        LocalPool(list(runs), Order(tmp_path, (), {}), [Machine()], seat=seat).start()
        folder = Folder.of(tmp_path, runs[1].id).path
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "checkpoint.pt").write_bytes(b"something")
    assert started[0] == started[1] == [run.id for run in runs]


def test_workers_that_cannot_start_are_an_error_that_names_their_logs(tmp_path: Path) -> None:
    pool = LocalPool([], Order(tmp_path, (), {}), [Machine()])
    for _ in range(MOST_DEATHS - 1):
        pool._record_death([], 1)
    with pytest.raises(UserError) as raised:
        pool._record_death([], 1)
    logs = tmp_path / STATE / f"worker-{os.getpid()}-*.log"
    assert str(raised.value) == f"workers die at start (exit code 1); see {logs}"


def test_workers_are_one_a_core_or_as_many_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.dispatch.machines.visible_gpus", lambda: 2)
    assert [one.device for one in machines("auto", None, Machine())] == ["cuda:0", "cuda:1"]
    assert [one.device for one in machines("cuda", 3, Machine())] == ["cuda:0", "cuda:1", "cuda:0"]
    one_each = machines("cuda", 6, Machine(), side_by_side=1)
    assert [one.device for one in one_each] == ["cuda:0", "cuda:1"]
    assert [one.device for one in machines("cuda", 1, Machine(), side_by_side=3)] == ["cuda:0"]
    assert {one.device for one in machines("cpu", 4, Machine())} == {"cpu"}
    assert len(machines("cpu", 4, Machine())) == 4
    cores = len(os.sched_getaffinity(0))
    assert len(machines("cpu", None, Machine(threads=cores))) == 1
    monkeypatch.setattr("bench.dispatch.machines.visible_gpus", lambda: 0)
    assert machines("auto", 1, Machine())[0].device == "cpu"
    with pytest.raises(ValueError, match="no CUDA device"):
        machines("cuda", None, Machine())


@pytest.mark.slow
def test_a_run_whose_state_cannot_be_kept_is_named_and_the_others_finish(suite_file: Path) -> None:
    results = suite_file.parent / "results"
    suite_file.write_text(toy_suite(architectures=["transformer", "s4_mamba"], steps=5))
    first, second = suites.load(suite_file).runs
    (results / STATE).mkdir(parents=True)
    (results / STATE / first.id).write_text("a file where a folder should be")
    done = undisturbed_command("run", suite_file, cwd=suite_file.parent)
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    assert "1 finished, 1 missing" in output
    assert "worker-*.log" in output
    assert pools.load(results).runs.keys() == {second.id}
    assert any(first.id in log.read_text() for log in (results / STATE).glob("worker-*.log"))
