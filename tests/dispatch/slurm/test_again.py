"""What runs in a job is what was submitted, and what has ended is not done again."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from averaging import AVERAGE
from cluster import eventually
from command import PATIENCE
from place import SUITE, Place

from bench import results as pools
from bench.results import STATE

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


def test_an_architecture_of_a_users_own_trains_in_a_job_as_it_does_here(place: Place) -> None:
    place.write(60, SUITE.replace("transformer", "averaging"), job_hours=4, sbatch={"hold": True})
    own = place.folder / "own.py"
    own.write_text(AVERAGE)
    place.bench("run", "toy.yaml", "--plugin", "own.py", "--results", "local", "--workers", 1)
    place.submit("--plugin", "own.py")
    own.unlink()  # a job brings what it was submitted with
    (job,) = place.cluster.queue()
    place.cluster.command("scontrol", "release", job)
    place.await_quiet()
    found = pools.load(place.results).runs
    assert len(found) == 2
    assert place.numbers() == place.numbers("local")
    (origin,) = {tuple(sorted((result.provenance.plugins or [{}])[0].items())) for result in found.values()}
    assert dict(origin)["sha256"] == hashlib.sha256(AVERAGE.encode()).hexdigest()
    assert {result.provenance.job for result in found.values()} == {job}


def stored(place: Place) -> dict[Path, tuple[bytes, int]]:
    """Every result file: its bytes, and when they were written."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in place.results.glob("*/*.json")}


def test_a_job_that_slurm_starts_again_when_all_is_done_changes_nothing(place: Place) -> None:
    starts, may_end = place.folder / "starts", place.folder / "may-end"
    until = f"until [ -e {may_end} ]; do sleep 0.1; done"  # submitit's pickles are there until this is over
    place.write(60, job_hours=4, setup=[f"echo started >> {starts}"], teardown=[until])
    place.submit()
    (job,) = place.cluster.queue()
    place.await_finish()
    log = place.results / STATE / "orders"
    ended = "Exiting after successful completion"
    eventually(lambda: count(log, ended) == 1, PATIENCE, "its function has returned")
    before = stored(place)
    assert len(before) == 3, "two runs and the baselines"
    place.cluster.command("scontrol", "requeue", job)
    eventually(lambda: starts.read_text().count("started") == 2, PATIENCE, "the job is started again")
    may_end.touch()
    place.await_quiet()
    assert count(log, ended) == 2, "the second time to its end, too"
    assert stored(place) == before
    assert [place.log(run).count(run.label) for run in place.runs] == [1, 1], "trained once"
    assert place.status()["total"]["states"]["finished"] == 2


def count(orders: Path, words: str) -> int:
    """How often jobs printed something outside of runs."""
    return sum(path.read_text().count(words) for path in orders.glob("*/*_log.*"))
