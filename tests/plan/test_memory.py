"""GPU memory: estimated from results, never more put on a GPU than fits, and what fits on none refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from synthetic import pool_with, record_of, result_of, run_of, task_named

from bench import results as pools
from bench import suite as suites
from bench.cli import memory as memory_of
from bench.cli import printing
from bench.cli.arguments import SuiteChoice
from bench.cli.memory import check_workers_fit
from bench.cli.run import run_suite
from bench.cli.run_options import RunOptions
from bench.dispatch.job import Machine
from bench.dispatch.stack_sizes import MEMORY_SHARE, advised_members
from bench.dispatch.status import RunStatus
from bench.errors import UserError
from bench.files import write_json
from bench.plan.memory import CONTEXT_MIB, Memories, Memory
from bench.plan.planned import Planned
from bench.plan.time import TimeEstimate
from bench.results import Pool
from bench.run import Run

RUN = run_of()


def measured(run: Run, peak_mib: int, **provenance: Any) -> Pool:
    """Results of one run that took so much."""
    return pool_with({run.id: result_of(run, provenance={"peak_memory_mib": peak_mib, **provenance})})


def planned(*runs: Run) -> list[Planned]:
    return [Planned(run, (), RunStatus("missing"), TimeEstimate(1.0, "measured")) for run in runs]


def test_memory_is_measured_or_scaled_or_unknown() -> None:
    memories = Memories(measured(RUN, 300))
    assert memories.estimate(RUN) == Memory(CONTEXT_MIB + 300, "measured")
    assert memories.estimate(run_of(batch_size=128)) == Memory(CONTEXT_MIB + 600, "scaled")
    assert memories.estimate(run_of(layers=12)) == Memory(CONTEXT_MIB + 900, "scaled")
    assert memories.estimate(run_of(batch_size=32)) == Memory(CONTEXT_MIB + 300, "scaled")
    smaller, larger = (memories.estimate(run_of(width=width)).mib - CONTEXT_MIB for width in (64, 1024))
    assert 300 / 16 < smaller < 300 / 4 + 1, "as its activations, which shrink less than its parameters"
    assert 300 * 4 < larger <= 300 * 17, "as its parameters, which grow faster than its activations"
    other = memories.estimate(run_of(architecture="transformer"))
    assert other.basis == "unknown"
    assert other.mib > CONTEXT_MIB


def test_plans_and_stacks_have_one_bound_of_memory_above_what_was_measured() -> None:
    # On an H200, nine members of a stack took 6,447 MiB.
    run = run_of(task_named("memorisation"), layers=2, width=128, batch_size=128)
    unknown = Memories(Pool()).estimate(run).mib - CONTEXT_MIB
    assert unknown == round(run.unmeasured_bytes() / 2**20) > 6447 / 9
    for members in (1, 3, 9):
        memory = members * run.unmeasured_bytes() / MEMORY_SHARE
        assert advised_members(run, "gpu", None, 1.01 * memory) == members


def test_the_most_that_a_shape_ever_took_counts() -> None:
    pool = measured(RUN, 300)
    again = run_of(seed=1)
    pool.runs[again.id] = record_of(result_of(again, provenance={"peak_memory_mib": 400}))
    assert Memories(pool).estimate(RUN).mib == CONTEXT_MIB + 400


def test_of_shapes_with_equal_activations_a_run_has_the_memory_of_its_own() -> None:
    flat = run_of(layers=16, width=64)
    pool = measured(RUN, 300)
    pool.runs[flat.id] = record_of(result_of(flat, provenance={"peak_memory_mib": 400}))
    assert Memories(pool).estimate(RUN) == Memory(CONTEXT_MIB + 300, "measured")
    assert Memories(pool).estimate(flat) == Memory(CONTEXT_MIB + 400, "measured")


def test_a_member_of_a_stack_takes_its_share_of_the_stacks_memory() -> None:
    pool = measured(RUN, 1600, stack={"id": "stack-1", "members": 16, "place": 0})
    assert Memories(pool).estimate(RUN) == Memory(CONTEXT_MIB + 100, "measured")


def test_a_run_spread_over_gpus_takes_its_share_of_each() -> None:
    alone, two = measured(RUN, 300), measured(RUN, 300, processes=2)
    assert Memories(two, spread=2).estimate(RUN) == Memory(CONTEXT_MIB + 300, "measured")
    assert Memories(two).estimate(RUN).mib == CONTEXT_MIB + 600
    assert Memories(alone, spread=2).estimate(run_of(batch_size=128)).mib == CONTEXT_MIB + 300


OUT = printing.Output()
GPUS = [Machine(devices=("cuda:0",)), Machine(devices=("cuda:1",))]


@pytest.mark.parametrize(("workers", "fits"), [(4, True), (6, False)])
def test_workers_that_were_asked_for_must_fit(
    monkeypatch: pytest.MonkeyPatch, workers: int, fits: bool
) -> None:
    monkeypatch.setattr(memory_of, "gpu_memory_mib", lambda: [90_000, 30_000])
    places, memories = GPUS * (workers // 2), Memories(measured(RUN, 10_000))
    if fits:
        check_workers_fit(places, planned(RUN), memories, OUT)
    else:
        with pytest.raises(UserError, match=r"--workers 6 puts 3 runs on one GPU.* 10,700 of its 30,000 MiB"):
            check_workers_fit(places, planned(RUN), memories, OUT)


def test_a_run_larger_than_the_gpu_is_warned_of_and_may_try(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(memory_of, "gpu_memory_mib", lambda: [40_000, 40_000])
    memories = Memories(measured(RUN, 60_000))
    check_workers_fit(GPUS, planned(RUN), memories, printing.Output())
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith("1 run is too large for a GPU of this machine (40,000 MiB): ")
    assert said.endswith("is expected to take 60,700 MiB (measured); it may run out of memory.")
    check_workers_fit(GPUS, planned(RUN), Memories(measured(RUN, 6_000)), printing.Output())
    assert capsys.readouterr().out == ""


SUITE = """
name: mixed
experiments:
  mixed:
    tasks: [{name: linear_regression, n_dims: 3, n_points: 5}]
    architectures: [mamba]
    sizes: [{layers: 1, width: 16}, {layers: 2, width: 64}]
    learning_rates: [1e-3, 2e-3, 3e-3, 4e-3]
    steps: 1000
"""


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A suite of small and large runs, where sbatch and its like seem to be installed."""
    monkeypatch.setattr("bench.cli.submit.check_slurm", lambda: None)
    monkeypatch.setattr("bench.cli.submit.largest_array", lambda: 1000)
    path = tmp_path / "mixed.yaml"
    path.write_text(SUITE)
    return path


def would_submit(
    suite: Path,
    peak_mib: int | None = None,
    machine: Machine | None = None,
    **site: Any,
) -> None:
    """`bench run --cluster slurm --dry-run`, with a result that says what a large run takes."""
    (suite.parent / "site.yaml").write_text(json.dumps(site))
    results = suite.parent / "results"
    if peak_mib is not None:
        like = next(run for run in suites.load(suite).runs if run.size.width == 64)
        like = like.model_copy(update={"seed": 7})
        like.__dict__.pop("id", None)
        pools.store(pools.path_of(results, like), result_of(like, provenance={"peak_memory_mib": peak_mib}))
    config = suite.parent / "site.yaml"
    options = RunOptions(None, True, None, True, "auto", None, cluster="slurm", cluster_config=config)
    run_suite(SuiteChoice.of(suite, results=results), options, machine or Machine())


def test_on_a_cluster_the_runs_of_a_stack_are_in_one_job(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def jobs(machine: Machine) -> list[str]:
        would_submit(suite, machine=machine, job_hours=1e-9)
        lines = capsys.readouterr().out.splitlines()
        return sorted(line.split(": ")[1].split(",")[0] for line in lines if line.startswith("would submit"))

    alone = jobs(Machine(stack=1))
    assert alone == ["1 run"] * 8 + ["baselines of 1 task"]
    assert jobs(Machine(stack=3)) == ["2 runs"] * 4 + ["baselines of 1 task"]
    assert jobs(Machine(stack=None)) == ["4 runs", "4 runs", "baselines of 1 task"]

    results, runs = suite.parent / "results", suites.load(suite).runs
    begun = results / ".state" / "stack-begun"
    write_json(begun / "stack.json", {"members": [runs[0].id, runs[1].id]})
    (begun / "checkpoint.pt").write_bytes(b"")
    pools.store(pools.path_of(results, runs[0]), result_of(runs[0]))
    described = ["1 run"] * 6 + ["2 runs", "baselines of 1 task"]
    assert jobs(Machine(stack=1)) == described, "a member that has ended goes where its stack goes on"


def test_on_a_cluster_large_runs_are_in_jobs_with_fewer_workers(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    would_submit(suite, 8_000, gpu_memory_gb=16, workers=2)
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("would submit")]
    small, large = said
    assert small.startswith("would submit job 0: 4 runs and baselines of 1 task, 2 at a time")
    assert large.startswith("would submit job 1: 4 runs, "), "8,700 MiB twice is more than 16 GiB"
    assert "at a time" not in large


def test_on_a_cluster_what_fits_on_no_gpu_is_refused_before_anything_is_submitted(suite: Path) -> None:
    with pytest.raises(UserError) as refused:
        would_submit(suite, 20_000, gpu_memory_gb=16)
    said = str(refused.value)
    assert said.startswith("4 runs are too large for GPUs of gpu_memory_gb (16,384 MiB): ")
    assert "mamba-2x64" in said
    assert "20,700 MiB (measured)" in said
    assert "--filter" in said


def test_on_a_cluster_what_is_not_known_to_be_too_large_is_a_warning(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    would_submit(suite, gpu_memory_gb=0.5)
    printed = " ".join(capsys.readouterr().out.split())
    assert "8 runs are too large" in printed
    assert "no similar run was measured" in printed
    assert "would submit job 0" in printed
    would_submit(suite, gpu_memory_gb=80)
    assert "too large" not in capsys.readouterr().out
