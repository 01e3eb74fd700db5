"""Orders, causes and the queue: what is abandoned, what counts as the same, what squeue says."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.dispatch.failure_causes import skeleton
from bench.dispatch.job import Machine
from bench.dispatch.order import ABANDON_AFTER, Order
from bench.dispatch.slurm.queue import ask_queue
from bench.dispatch.slurm.submission import Array, Submission, submissions, user_name
from bench.dispatch.slurm.submit import cancel
from bench.dispatch.state import Folder
from bench.dispatch.status import QueuedJob
from bench.dispatch.worker import _Worker
from bench.errors import UserError

OOM = "CUDA out of memory. Tried to allocate {} MiB. GPU {} has a total capacity of 79.1 GiB"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (OOM.format("20.00", 0), OOM.format("1,024.5", 3)),
        ("[Errno 2] No such file: '/scratch/a/b.pt'", "[Errno 2] No such file: '/home/x/c.pt'"),
        ("object at 0x7f12ab", "object at 0x7f99"),
        ("run 0123456789ab differs", "run fedcba987654 differs"),
        ("loss 1e-3 at step 7\nmore", "loss 2.5e+10 at step 9\nother"),
    ],
)
def test_one_cause_with_other_numbers_is_one_cause(one: str, other: str) -> None:
    assert skeleton(one) == skeleton(other) != ""


@pytest.mark.parametrize(
    ("one", "other"),
    [("out of memory", "illegal memory access"), ("s4 differs", "mamba differs"), ("float32", "float64")],
)
def test_other_words_are_another_cause(one: str, other: str) -> None:
    assert skeleton(one) != skeleton(other)


@given(st.text())
def test_any_message_has_a_skeleton_of_one_line(message: str) -> None:
    found = skeleton(message)
    assert len(found.splitlines()) <= 1
    assert len(found) <= 300


def order_of(results: Path, count: int = 2 * ABANDON_AFTER) -> Order:
    return Order(results, tuple(f"run{number}" for number in range(count)), {}, began=0.0)


def fail(order: Order, count: int, message: str = "out of memory: {} MiB") -> None:
    for number, run_id in enumerate(order.runs[:count]):
        Folder.of(order.results, run_id).fail_with("MemoryError", message.format(number))
        order.consider_abandoning()


def test_the_first_failures_of_one_cause_abandon_the_order(tmp_path: Path) -> None:
    order = order_of(tmp_path)
    fail(order, ABANDON_AFTER - 1)
    assert order.abandoned() is None
    fail(order, ABANDON_AFTER)
    reason = order.abandoned()
    assert reason is not None
    assert f"the first {ABANDON_AFTER} runs failed alike: MemoryError: out of memory" in reason
    order.forget()
    assert order.abandoned() is None
    assert not order.folder.parent.exists()


def test_an_order_that_an_earlier_version_abandoned_is_abandoned(tmp_path: Path) -> None:
    order = order_of(tmp_path)
    order.make_folder()
    (order.folder / "stopped.json").write_text('{"reason": "the first 5 runs failed alike", "time": 1.0}')
    assert order.abandoned() == "the first 5 runs failed alike"


def test_an_order_of_which_anything_works_goes_on(tmp_path: Path) -> None:
    order = order_of(tmp_path)
    order.record_result()
    fail(order, len(order.runs))
    assert order.abandoned() is None


def test_different_causes_abandon_nothing(tmp_path: Path) -> None:
    order = order_of(tmp_path)
    Folder.of(tmp_path, order.runs[-1]).fail_with("ValueError", "something else")
    fail(order, len(order.runs) - 1)
    assert order.abandoned() is None


def test_failures_of_an_earlier_order_do_not_count(tmp_path: Path) -> None:
    earlier = order_of(tmp_path)
    fail(earlier, ABANDON_AFTER)
    later = Order(tmp_path, earlier.runs, {})
    later.consider_abandoning()
    assert later.abandoned() is None


def test_a_run_has_failed_when_all_that_follows_from_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until its heartbeat is removed it is running: then its traceback is there, and the order abandoned."""
    order, seen = order_of(tmp_path), []
    worker = _Worker(order, Machine(), lambda: False, [], None)  # type: ignore[arg-type]

    def remove(folder: Folder) -> None:
        seen.append((folder.failure() is not None, order.abandoned() is not None))

    monkeypatch.setattr(Folder, "remove_heartbeat", remove)
    for run_id in order.runs[:ABANDON_AFTER]:
        worker._failed(Folder.of(tmp_path, run_id), MemoryError("out of memory"))
    assert seen == [(True, False)] * (ABANDON_AFTER - 1) + [(True, True)]


def test_an_order_that_ends_takes_no_folder_from_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = order_of(tmp_path)
    make, above, ends = os.mkdir, order.folder.parent, iter([order.folder.parent.rmdir])

    def mkdir(path: str, mode: int = 0o777) -> None:
        if Path(path) == order.folder and above.exists():
            for end in ends:
                end()  # as `forget` of the last other order does
        make(path, mode)

    monkeypatch.setattr("os.mkdir", mkdir)
    order.record_result()
    assert (order.folder / "works").exists()


def submitted(results: Path, jobs: tuple[tuple[str, ...], ...], stamp: str = "1") -> Submission:
    folder = results / ".state" / "orders" / stamp
    found = Submission(folder, "toy", user_name(), (Array(f"bench-toy-{stamp}-0", jobs, "9"),))
    found.write()
    return found


@pytest.fixture
def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A squeue that says what is in a file, or fails when there is none."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "squeue"
    script.write_text(
        f'#!/bin/sh\ncat {folder}/says 2>/dev/null || {{ echo "slurm_load_jobs error: down" >&2; exit 1; }}\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder / "says"


def test_a_submission_is_written_and_read_and_half_a_record_is_none(tmp_path: Path) -> None:
    written = submitted(tmp_path, (("a", "b"), ("c",)))
    assert list(submissions(tmp_path)) == [written]
    (written.folder / "submission.json").write_text('{"format": 1, "suite"')
    assert list(submissions(tmp_path)) == []


def test_nothing_submitted_asks_nobody(tmp_path: Path, squeue: Path) -> None:
    found = ask_queue(tmp_path)
    assert not found.answered
    assert not found.problem


def test_jobs_are_known_by_name_and_index_not_by_number(tmp_path: Path, squeue: Path) -> None:
    submitted(tmp_path, (("a", "b"), ("c",), ("d",)))
    squeue.write_text(
        "bench-toy-1-0|77_0|RUNNING|None|0\n"
        "bench-toy-1-0|77_1|PENDING|Priority|1\n"
        "somebody-else|9_2|RUNNING|None|2\n"  # the number that was recorded, of another's job
    )
    found = ask_queue(tmp_path)
    assert found.runs["a"] == found.runs["b"] == QueuedJob("77_0", "RUNNING", "None")
    assert found.runs["c"].waits
    assert found.gone == {"d": False}


def test_the_last_submission_says_whether_a_run_was_cancelled(tmp_path: Path, squeue: Path) -> None:
    submitted(tmp_path, (("a",), ("b",)), "1").mark_cancelled()
    submitted(tmp_path, (("a",),), "2")
    squeue.write_text("")
    assert ask_queue(tmp_path).gone == {"a": False, "b": True}


@pytest.mark.parametrize(("fails", "marked"), [(False, True), (True, False)])
def test_jobs_are_marked_as_cancelled_before_they_leave_the_queue(
    tmp_path: Path, squeue: Path, fails: bool, marked: bool
) -> None:
    """Whoever sees that they are gone finds the reason. If Slurm refuses, they were not cancelled."""
    submission, other = submitted(tmp_path, (("a",),)), submitted(tmp_path, (("b",),), "2")
    squeue.write_text("bench-toy-1-0|77|RUNNING|None|N/A\n")
    scancel = squeue.with_name("scancel")
    lines = (f"echo $* > {squeue}.cancelled", f"ls {submission.folder} >> {squeue}.cancelled")
    scancel.write_text("\n".join(("#!/bin/sh", *lines, f"exit {int(fails)}")))
    scancel.chmod(0o755)
    if fails:
        with pytest.raises(UserError, match="scancel failed"):
            cancel(tmp_path, "toy")
    else:
        assert cancel(tmp_path, "toy") == 1
    assert Path(f"{squeue}.cancelled").read_text().split() == ["77", "cancelled", "submission.json"]
    assert (submission.cancelled, other.cancelled) == (marked, False)


def test_a_queue_that_does_not_answer_is_a_problem_not_an_empty_queue(tmp_path: Path, squeue: Path) -> None:
    submitted(tmp_path, (("a",),))
    found = ask_queue(tmp_path)
    assert not found.answered
    assert "down" in found.problem
