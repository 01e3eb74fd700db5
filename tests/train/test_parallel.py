"""One run on several devices: the same batch, the true gradient, the losses of one device."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from command import SECONDS
from small_runs import small_run, training_loss

from bench import results as pools
from bench.cli.run_options import has_dropout
from bench.dispatch.job import Machine
from bench.dispatch.local import LocalPool
from bench.dispatch.machines import machines
from bench.dispatch.order import Order
from bench.dispatch.state import Folder
from bench.dispatch.worker import _Worker
from bench.models.architectures import ARCHITECTURES, PAPER
from bench.run import Run
from bench.stack import Stack
from bench.tasks import TASKS
from bench.tasks.draws import Draws
from bench.train.loop import TrainingOptions, train
from bench.train.parallel import Group, LeaderSilent
from bench.train.state import initial_state
from bench.train.step import eager_step

CPU = torch.device("cpu")


def spread_run(name: str, **fields: Any) -> Run:
    """A run whose batch does not divide by the number of processes, so that their shares differ."""
    return small_run(name, **{"clip": 0.5, "steps": 24, "checkpoints": (8, 24), "batch_size": 15, **fields})


def pool_over(runs: list[Run], results: Path, processes: int, **machine: Any) -> LocalPool:
    order = Order(results, tuple(run.id for run in runs), {})
    return LocalPool(list(runs), order, [Machine(devices=("cpu",) * processes, **machine)])


def finish(pool: LocalPool) -> None:
    deadline = time.monotonic() + SECONDS
    try:
        while pool.busy():
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        pool.stop(patience=1)


@pytest.mark.slow
def test_two_processes_have_the_losses_and_gradients_of_one(tmp_path: Path) -> None:
    # One architecture of each kind of mixer: how a batch is shared does not depend on the others.
    names = ["transformer", "mamba", "s4", "mambaformer", "gdn_hybrid_3_1", "mamba2"]
    runs = [spread_run(name) for name in names]
    runs.append(spread_run("transformer", task=TASKS["sparse_parity"](n_dims=4, n_points=6, sparsity=2)))
    pool = pool_over(runs, tmp_path, 2)
    pool.start()
    finish(pool)
    together = pools.load(tmp_path).runs
    assert together.keys() == {run.id for run in runs}
    for run in runs:
        alone, both = train(run, tmp_path / "alone" / run.id, TrainingOptions(CPU)), together[run.id]
        assert both.provenance.processes == 2
        for curve in ("loss", "gradient_norm"):
            # Sums in another order drift apart: by 1.4e-3 in 24 steps of the deepest model.
            assert getattr(both.curve, curve) == pytest.approx(alone["curve"][curve], rel=5e-3), run.label
        overall = both.checkpoints[-1].evaluations["report"].overall
        one = alone["checkpoints"][-1]["evaluations"]["report"]["overall"]
        assert overall == pytest.approx(one, rel=5e-3)


@pytest.mark.slow
def test_a_crew_that_loses_a_process_is_started_anew_and_resumes(tmp_path: Path) -> None:
    run = spread_run("transformer", steps=200, checkpoints=(200,))
    pool = pool_over([run], tmp_path, 2, save_every=0.0)
    pool.start()
    folder, deadline = Folder.of(tmp_path, run.id), time.monotonic() + SECONDS
    while not folder.has_checkpoint():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    (crew,) = pool._crews.values()
    follower = crew[1].pid
    assert follower
    os.kill(follower, signal.SIGKILL)
    finish(pool)
    result = pools.load(tmp_path).runs[run.id]
    assert (result.provenance.resumptions or 0) >= 1
    alone = train(run, tmp_path / "alone", TrainingOptions(CPU))
    assert result.curve.loss == pytest.approx(alone["curve"]["loss"], rel=2e-2)


@pytest.mark.slow
def test_a_run_that_fails_costs_the_crew_nothing_else(tmp_path: Path) -> None:
    broken, good = spread_run("mamba"), spread_run("transformer")
    (Folder.of(tmp_path, broken.id).path / "checkpoint.pt.unusable").mkdir(parents=True)
    (Folder.of(tmp_path, broken.id).path / "checkpoint.pt").write_text("cannot be read or set aside")
    pool = pool_over([broken, good], tmp_path, 2, save_every=0.0)
    pool.start()
    finish(pool)
    assert Folder.of(tmp_path, broken.id).failure()
    assert pools.load(tmp_path).runs.keys() == {good.id}


def test_a_follower_that_is_asked_to_stop_leaves_the_leader_time_to_save(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However long it has waited before: the leader may be evaluating."""
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += 1

    monkeypatch.setattr("bench.train.parallel.time", SimpleNamespace(monotonic=lambda: now, sleep=sleep))
    answers_at = 640.0
    store = SimpleNamespace(check=lambda keys: now >= answers_at, get=lambda key: b"7")
    group = Group(1, 2, store, asked_to_stop=lambda: now >= 600)
    assert group.hear() == 7
    answers_at = 10_000.0
    with pytest.raises(LeaderSilent):
        group.hear()
    assert 640 < now < 720


def test_a_follower_whose_leader_is_silent_leaves_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.train.parallel.LAST_MESSAGE_SECONDS", 0.0)
    group = Group(1, 2, SimpleNamespace(check=lambda keys: False), asked_to_stop=lambda: True)
    worker = _Worker(Order(tmp_path, (), {}), Machine(), group.asked_to_stop, [], group)  # type: ignore[arg-type]
    worker.follow([])
    assert "the leading process is silent" in capsys.readouterr().out
    group.leave()  # asks nothing of the store, whose process may be gone


def test_a_model_that_carries_its_state_is_not_spread() -> None:
    """Each process would have the states of all rows and the tokens of some."""
    run = small_run(
        ARCHITECTURES["lstm"].with_options({"carry": True, "dropout": 0.0}),
        task=TASKS["ginc"](symbols=50, block=16, documents=1),
    )
    state = initial_state(Stack.of(run), CPU, "sequential")
    assert state.carried
    with pytest.raises(ValueError, match="trains in one process"):
        eager_step(state, Group(0, 2, None, lambda: False))


@pytest.mark.parametrize("task", list(TASKS))
def test_the_shares_of_a_batch_are_the_batch(task: str) -> None:
    prompts = TASKS[task].example().batch(Draws(0, "train", torch.tensor(3)), 7)
    shares = [Group(rank, 3, None, lambda: False).rows(prompts) for rank in range(3)]
    for name in ("tokens", "targets", "inputs", "counted"):
        whole = getattr(prompts, name)
        assert whole is None or torch.equal(torch.cat([getattr(share, name) for share in shares]), whole)
    for name, whole in prompts.more.items():
        assert torch.equal(torch.cat([share.more[name] for share in shares]), whole)


def test_shares_with_unequal_numbers_of_counted_points_add_up_to_the_batchs_loss() -> None:
    task = TASKS["many_outlier_regression"](n_dims=3, n_points=40)
    step = torch.tensor(3)
    prompts = task.batch(Draws(0, "train", step), 7)
    outputs = torch.randn(7, 80, 1, generator=torch.Generator().manual_seed(0))
    parts = []
    for rank in range(3):
        group = Group(rank, 3, None, lambda: False)
        first = sum(len(Group(r, 3, None, lambda: False).rows(prompts).targets) for r in range(rank))
        share = group.rows(prompts)
        parts.append(task.loss_sum(outputs[first : first + len(share.targets)], share, step))
    assert len({float(count) for _, count in parts}) > 1
    total, count = (sum(float(part[i]) for part in parts) for i in (0, 1))
    assert total / count == pytest.approx(float(training_loss(task, outputs, prompts, step)), rel=1e-5)


def test_what_is_averaged_are_sums_over_counts_not_means(monkeypatch: pytest.MonkeyPatch) -> None:
    # Two shares of unequal counts, as a task that masks positions has them: 3 losses here, 1 there.
    gradient = torch.tensor([6.0])  # of w(1 + 2 + 3)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda flat: flat.add_(torch.tensor([10.0, 10, 1])))
    total, count = Group(0, 2, None, lambda: False).average([gradient], torch.tensor(6.0), torch.tensor(3.0))
    assert (float(total), float(count)) == (6 + 10, 3 + 1)
    assert float(gradient) == (6 + 10) / 4


def test_the_training_score_weighs_all_letters_alike_in_a_group_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of RegBench differ in their numbers of letters, so a mean of their means is another number."""
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda flat: flat)  # a group of one process
    run = spread_run("transformer", task=TASKS["regbench"](languages=30))
    point_losses = []
    for group in (None, Group(0, 1, None, lambda: False)):
        state = initial_state(Stack.of(run), CPU, "sequential")
        step = eager_step(state, group)
        for _ in range(3):
            step()
        point_losses.append(state.point_losses)
    alone, together = point_losses
    assert alone is not None
    assert torch.equal(alone[1], together[1])
    assert torch.allclose(alone[0], together[0], rtol=1e-6)


def test_only_dropout_keeps_a_run_from_being_spread() -> None:
    names = [architecture.name for architecture in PAPER]
    assert {name for name in names if has_dropout(spread_run(name))} == {"s4_mamba", "lstm"}


def test_machines_are_crews_of_neighbouring_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.dispatch.machines.visible_gpus", lambda: 5)
    crews = [one.devices for one in machines("auto", None, Machine(), spread=2)]
    assert crews == [("cuda:0", "cuda:1"), ("cuda:2", "cuda:3")]
    with pytest.raises(ValueError, match="spread over 8 GPUs: 5 can be used"):
        machines("cuda", None, Machine(), spread=8)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1, 2, 3}, raising=False)
    assert [one.devices for one in machines("cpu", None, Machine(), spread=2)] == [("cpu",) * 2] * 2
    assert json.dumps(machines("cpu", 1, Machine())[0].devices) == '["cpu"]'
