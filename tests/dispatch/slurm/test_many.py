"""Many runs through arrays of jobs killed at random: each ends once, with the local numbers."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time

import pytest
from place import Place

from bench import results as pools
from bench.plan.time import cautious_seconds
from bench.run import Run

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

RUNS, JOBS = 60, 10
WAYS = ("requeue", "warning", "lost worker", "lost job")
"""What happens to jobs; each of it once, in an order by chance."""
SUITE = f"""
name: toy
experiments:
  toy:
    tasks: [{{name: linear_regression, n_dims: 2, n_points: 3}}]
    architectures: [transformer]
    sizes: [{{layers: 1, width: 8, heads: 2}}]
    learning_rates: [1e-3, 2e-3]
    seeds: {list(range(RUNS // 2))}
    batch_size: 4
    steps: 24
    evaluation_prompts: 8
"""


def kill_something(place: Place, runs: tuple[Run, ...], chance: random.Random, way: str) -> bool:
    """Do to some job what happens to jobs; says whether anything trained."""
    jobs = [job for job, word in place.cluster.queue().items() if word == "RUNNING"]
    pids = [beat["pid"] for run in runs if (beat := place.beat(run)) and "ended" not in beat]
    if not jobs or not pids:
        return False
    job = chance.choice(jobs)
    if way == "requeue":
        place.cluster.command("scontrol", "requeue", job, check=False)
    elif way == "warning":
        place.cluster.command("scancel", "--signal=USR2", job, check=False)
    elif way == "lost job":
        place.cluster.command("scancel", "--full", "--signal=KILL", job, check=False)
    else:
        with contextlib.suppress(ProcessLookupError):
            os.kill(chance.choice(pids), signal.SIGKILL)
    return True


def test_many_runs_killed_at_random_end_once_with_the_local_numbers(place: Place) -> None:
    place.write(suite=SUITE)
    runs = place.runs
    assert len(runs) == RUNS
    seconds = sum(cautious_seconds(run, "cpu") for run in runs)
    place.write(suite=SUITE, job_hours=seconds / 3600 / (JOBS - 1), array_parallelism=4)
    place.bench("run", "toy.yaml", "--results", "local")
    chance = random.Random(11)
    left = chance.sample(WAYS, len(WAYS))
    for attempt in range(6):
        output = place.submit()
        assert "in 2 arrays" in output or attempt
        while place.cluster.queue():
            time.sleep(chance.uniform(0.2, 0.6))
            if left and kill_something(place, runs, chance, left[0]):
                del left[0]
        if len(pools.load(place.results).runs) == RUNS:
            break
        place.write(suite=SUITE, job_hours=4)  # what is left fits into one job
    assert not left
    files = [path.name for path in place.results.glob("linear_regression/*.json")]
    assert sum(name.startswith("transformer") for name in files) == RUNS
    assert place.numbers() == place.numbers("local")
    assert not any(map(place.beat, runs)), "nothing is left of their training"
