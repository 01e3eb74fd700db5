"""From a suite to jobs in a queue and back to results."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from cluster import eventually
from command import PATIENCE
from place import ROOT, STEPS, SUITE, Place

from bench import results as pools
from bench.dispatch.slurm.submission import SUBMITTING_SECONDS, Array, Submission
from bench.results import STATE

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


def test_runs_go_through_the_queue_and_end_with_the_numbers_of_a_local_run(
    place: Place, undisturbed: dict[str, str]
) -> None:
    output = place.submit("--wait")
    assert "3 jobs in 1 array" in output  # two runs and the baselines: nothing is small enough to share
    assert "Done: 2 finished." in output
    assert place.numbers() == undisturbed
    place.await_quiet()
    left = [path.name for path in (place.results / STATE / "orders").glob("*/*")]
    assert not [name for name in left if name.endswith(".pkl")], "submitit's pickles are cleaned"
    assert place.status()["total"]["states"]["finished"] == 2
    log = place.bench("logs", place.runs[0].id)
    assert f"step {STEPS:,} of {STEPS:,}" in log
    assert "in 1 array" not in place.submit()  # nothing to do
    origin = pools.load(place.results).runs[place.runs[0].id].provenance
    assert origin.code_changed is False
    assert (origin.submitted_code or {})["source"] == origin.source


def test_one_submission_leaves_alone_what_another_is_still_submitting(place: Place) -> None:
    other = Submission(
        place.results / STATE / "orders" / "other", "toy", "me", (Array("other-0", (("run",),)),)
    )
    other.write()
    script = other.folder / ".submission_file_1.sh"
    script.touch()
    place.write(60, job_hours=4)
    place.submit("--limit", 1, "--wait")
    assert script.exists()
    given_up = time.time() - SUBMITTING_SECONDS - 1
    os.utime(other.folder / "submission.json", (given_up, given_up))
    place.submit()
    assert not script.exists()


def test_gpus_are_asked_for_and_a_job_without_any_says_so(place: Place) -> None:
    place.write(gpus_per_node=1, device="cuda", job_hours=4)
    place.submit()
    place.await_quiet()
    output = place.bench("failures", "toy.yaml", code=1)
    assert "no CUDA device" in output
    assert "bench run toy.yaml --retry failed" in output
    place.write(gpus_per_node=3, device="cuda")
    assert "sbatch refused" in place.submit("--retry", "failed", code=2)
    assert not list((place.results / STATE / "orders").glob("*/*.pkl"))


def test_what_the_first_runs_die_of_stops_the_rest(place: Place) -> None:
    suite = SUITE.replace("[1e-3, 2e-3]", "[1e-3, 2e-3, 3e-3, 4e-3, 5e-3, 6e-3, 7e-3, 8e-3]")
    place.write(suite=suite, array_parallelism=1, job_hours=4)
    broken = place.folder / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import bench.kernels.self_test as module\n"
        "def never(*arguments):\n    return [module.Outcome('scan', 'broken', 82, 1.0, 1.0)]\n"
        "module.self_test = never\n"
    )
    place.submit("--wait", code=1, PYTHONPATH=f"{broken}:{ROOT}")
    states = place.status()["total"]["states"]
    assert (states["failed"], states["missing"]) == (5, 3)
    output = place.bench("failures", "toy.yaml", code=1)
    assert "5 runs: KernelDisagrees: scan (broken) differs from its reference" in output
    assert "abandoned: the first 5 runs failed alike: KernelDisagrees" in output
    assert "abandoned" in place.bench("status", "toy.yaml")


@pytest.fixture
def checkout(place: Place) -> Path:
    """A copy of the package that may be changed."""
    folder = place.folder / "checkout"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "bench", folder / "bench", ignore=ignored)
    return folder


@pytest.mark.parametrize("snapshot", [False, True])
def test_the_code_that_runs_is_the_code_that_was_submitted_or_the_result_says_otherwise(
    place: Place, checkout: Path, snapshot: bool
) -> None:
    place.write(steps=50, job_hours=4, sbatch={"hold": True})
    options = ["--snapshot"] if snapshot else []
    place.submit(*options, PYTHONPATH=str(checkout), BENCH_COMMIT="a" * 40)
    with (checkout / "bench" / "run.py").open("a") as file:
        file.write("# changed while the job waited\n")
    (job,) = place.cluster.queue()
    place.cluster.command("scontrol", "release", job)
    place.await_finish()
    origins = [result.provenance for result in pools.load(place.results).runs.values()]
    assert {origin.code_changed for origin in origins} == {not snapshot}
    assert {(origin.submitted_code or {})["commit"] for origin in origins} == {"a" * 40}
    assert all((origin.source == (origin.submitted_code or {})["source"]) is snapshot for origin in origins)


def test_a_run_spread_over_two_tasks_has_the_losses_of_one(place: Place) -> None:
    place.write(steps=60, job_hours=4)
    place.submit("--gpus-per-run", 2, "--wait")
    spread = pools.load(place.results).runs
    assert {result.provenance.processes for result in spread.values()} == {2}
    place.bench("run", "toy.yaml", "--results", "alone", "--workers", 1)
    alone = pools.load(place.folder / "alone").runs
    assert spread.keys() == alone.keys()
    for run_id, one in alone.items():
        assert spread[run_id].curve.loss == pytest.approx(one.curve.loss, rel=1e-4)


def test_arrays_are_cut_below_the_clusters_limit(place: Place) -> None:
    rates = ", ".join(f"{number}e-4" for number in range(1, 12))
    place.write(steps=20, suite=SUITE.replace("1e-3, 2e-3", rates), job_hours=1e-9, sbatch={"hold": True})
    output = place.submit()
    assert "12 jobs in 2 arrays" in output  # MaxArraySize is 9
    names = place.cluster.command("squeue", "-h", "-r", "-o", "%j").split()
    assert sorted(names.count(name) for name in set(names)) == [6, 6]
    assert place.status()["total"]["states"]["queued"] == 11
    waiting = place.bench("logs", place.runs[0].id)
    assert "has printed nothing yet" in waiting
    records = list((place.results / STATE / "orders").glob("*/submission.json"))
    jobs = [runs for array in json.loads(records[0].read_text())["arrays"] for runs in array["jobs"]]
    assert sorted(run for runs in jobs for run in runs if len(run) == 12) == sorted(r.id for r in place.runs)
    eventually(lambda: "Cancelled 12 jobs" in place.bench("cancel", "toy.yaml"), PATIENCE, "cancelled")
