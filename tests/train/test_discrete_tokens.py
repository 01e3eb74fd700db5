"""Training on discrete tokens: whole runs of the formal languages, alone and in a stack."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.models.architectures import ARCHITECTURES
from bench.models.sizes import Size
from bench.optimizers import AdamW
from bench.results import per_prompt, read_run
from bench.results.evaluations import metric, normalised, number
from bench.results.record import RunRecord
from bench.run import Run
from bench.stack import Stack
from bench.tasks import Task
from bench.tasks.draws import Draws
from bench.tasks.languages.ginc import GINC
from bench.tasks.languages.regbench import RegBench
from bench.tasks.regression import LinearRegression
from bench.train import Interrupted
from bench.train.backends_agree import stack_losses, training_losses
from bench.train.loop import Progress, TrainingOptions, train, train_stack
from bench.train.state import initial_state

CPU = torch.device("cpu")
pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
REGBENCH = RegBench(
    languages=40, max_states=5, max_letters=6, max_string_length=6, min_strings=3, max_strings=5
)
LONGER = REGBENCH.model_copy(update={"max_string_length": 16})
"""With texts of several lengths, of 3 to 84 tokens."""
GINC_SMALL = GINC(symbols=50, block=32, documents=4)


def run_of(task: Task, architecture: str = "transformer", **fields: Any) -> Run:
    pattern = ARCHITECTURES[architecture]
    usual: dict[str, Any] = {
        "task": task,
        "architecture": pattern,
        "size": Size(layers=1, width=16, heads=2).of(pattern),
        "learning_rate": 1e-2,
        "optimizer": AdamW(warmup_steps=5, weight_decay=0.1),
        "batch_size": 8,
        "steps": 60,
        "checkpoints": (60,),
        "evaluation_prompts": 6,
    }
    return Run.model_validate({**usual, **fields})


def without_dropout(run: Run) -> Run:
    if run.architecture.name != "lstm":
        return run
    return run.model_copy(update={"architecture": run.architecture.with_options({"dropout": 0.0})})


def fields_of(run: Run) -> dict[str, Any]:
    return {name: getattr(run, name) for name in Run.model_fields}


def trained(run: Run, folder: Path) -> RunRecord:
    result = train(run, folder, TrainingOptions(CPU))
    result["provenance"] |= {"device": "cpu"}
    return read_run(json.loads(json.dumps(result)))


def test_a_run_on_regbench_is_scored_by_three_evaluations(tmp_path: Path) -> None:
    record = trained(run_of(REGBENCH), tmp_path)
    assert record.last is not None
    evaluations = {"report", "selection", "cross_entropy", "total_variation", "training"}
    assert set(record.last.evaluations) == evaluations
    assert record.curve.loss[-1] < record.curve.loss[0] - 0.2
    assert (metric(record), metric(record, "cross_entropy")) == ("accuracy", "cross_entropy")
    entropy = number(record, record.last, "cross_entropy", "mean")
    assert entropy is not None
    assert 0 < entropy[0] < math.log(8)
    assert normalised(record, "cross_entropy", entropy)[0] == pytest.approx(entropy[0] / math.log(8))
    accuracy = number(record, record.last, "report", "headline")
    assert accuracy is not None
    assert normalised(record, "report", accuracy)[0] == pytest.approx(1 - accuracy[0])


def test_a_run_on_ginc_is_scored_on_prompts_and_documents(tmp_path: Path) -> None:
    record = trained(run_of(GINC_SMALL, "lstm"), tmp_path)
    assert record.last is not None
    assert {"report", "length_3", "validation", "training"} < set(record.last.evaluations)
    assert record.prompts["validation"].count == 3200
    entropy = number(record, record.last, "validation", "mean")
    assert entropy is not None
    assert entropy[0] < math.log(51) - 0.2


@pytest.mark.parametrize("architecture", ["transformer", "lstm"])
def test_losses_without_padding_are_those_with_it(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = without_dropout(run_of(LONGER, architecture, steps=8, checkpoints=(8,)))
    lengths = {LONGER.batch_length(run.seed, step, run.batch_size) for step in range(8)}
    assert len(lengths) > 1
    short, _ = training_losses(run, CPU, "sequential")
    monkeypatch.setattr(RegBench, "batch_length", lambda task, seed, step, size: task.n_points)
    whole, _ = training_losses(run, CPU, "sequential")
    assert short == pytest.approx(whole, rel=1e-4)
    assert short != whole


def test_a_stack_is_cut_to_the_longest_of_its_streams() -> None:
    runs = [run_of(LONGER, "mamba", seed=seed, steps=5, checkpoints=(5,)) for seed in (0, 1)]
    assert any(
        len({LONGER.batch_length(run.seed, step, run.batch_size) for run in runs}) > 1 for step in range(5)
    )
    stacked, _ = stack_losses(Stack.of(*runs), CPU, "sequential")
    order = Stack.of(*runs).members
    for run, losses in zip(order, stacked, strict=True):
        alone, _ = training_losses(run, CPU, "sequential")
        assert losses == pytest.approx(alone, rel=1e-4)


def test_a_resumed_run_cuts_its_batches_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lengths depend on the step alone, and so do the numbers of the run, to the bit."""
    run = run_of(LONGER, steps=12, checkpoints=(12,))
    straight = train(run, tmp_path / "straight", TrainingOptions(CPU))
    asked: list[tuple[int, int]] = []
    batch_length = RegBench.batch_length

    def watched(task: RegBench, seed: int, step: int, size: int) -> int:
        asked.append((step, batch_length(task, seed, step, size)))
        return asked[-1][1]

    monkeypatch.setattr(RegBench, "batch_length", watched)
    seen: list[Progress] = []
    stop = TrainingOptions(CPU, report=seen.append, asked_to_stop=lambda: seen[-1].step >= 5)
    with pytest.raises(Interrupted):
        train(run, tmp_path / "resumed", stop)
    resumed = train(run, tmp_path / "resumed", TrainingOptions(CPU))
    assert [step for step, _ in asked] == list(range(12))
    assert len({length for _, length in asked}) > 1
    assert resumed["curve"] == straight["curve"]
    assert resumed["checkpoints"] == straight["checkpoints"]


def test_more_prompts_than_published_are_refused() -> None:
    with pytest.raises(ValueError, match=r"evaluation_prompts: .* has 2500, got 2501"):
        run_of(GINC_SMALL, evaluation_prompts=2501)


def test_the_tested_checkpoint_is_the_one_with_the_lowest_validation_loss(tmp_path: Path) -> None:
    """Two languages are soon learned by heart, and the loss on others rises."""
    fields: dict[str, Any] = {
        "task": REGBENCH.model_copy(update={"languages": 2}),
        "size": Size(layers=1, width=32, heads=2),
        "checkpoints": (10, 20, 30, 40, 50, 60),
    }
    last = trained(run_of(**fields), tmp_path / "last")
    best = trained(run_of(**fields, tested_checkpoint="best_validation"), tmp_path / "best")
    assert best.curve == last.curve
    losses = [checkpoint.validation_loss for checkpoint in best.checkpoints]
    assert None not in losses
    lowest = losses.index(min(loss for loss in losses if loss is not None))
    assert lowest < len(losses) - 1
    for index, checkpoint in enumerate(best.checkpoints):
        tested = min(range(index + 1), key=lambda earlier: losses[earlier] or 0.0)
        assert checkpoint.tested_step == last.checkpoints[tested].step
        assert checkpoint.evaluations == last.checkpoints[tested].evaluations
    assert best.last is not None
    headline = best.last.evaluations["report"].headline
    assert headline is not None
    assert per_prompt(best).mean() == pytest.approx(headline[0], rel=1e-4)
    assert "validation_loss" not in last.checkpoints[0].model_fields_set
    forged = best.model_dump(mode="json")
    forged["checkpoints"][-1]["tested_step"] = 60
    with pytest.raises(ValueError, match="step 60 has the scores of step 60, not of step"):
        RunRecord.model_validate(forged)


def test_weights_are_not_kept_of_a_model_that_is_not_the_tested_one(tmp_path: Path) -> None:
    kept: list[int] = []

    def keep(member: int, tensors: dict[str, torch.Tensor]) -> None:
        kept.append(member)

    run = run_of(REGBENCH.model_copy(update={"languages": 2}), checkpoints=(20, 40, 60))
    for tested in ("last", "best_validation"):
        own = Run.model_validate({**fields_of(run), "tested_checkpoint": tested})
        train(own, tmp_path / tested, TrainingOptions(CPU, keep_weights=keep))
    assert len(kept) == 1


def test_only_tasks_with_a_validation_loss_have_a_best_checkpoint() -> None:
    run = run_of(REGBENCH)
    assert "tested_checkpoint" not in run.identity()
    with pytest.raises(ValueError, match="'linear_regression' has no validation loss"):
        run_of(LinearRegression(), tested_checkpoint="best_validation")


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_the_training_score_is_the_mean_loss_of_all_letters_of_the_last_window(
    seeds: tuple[int, ...], tmp_path: Path
) -> None:
    """Of 200 steps a window has two. A model that does not move has the same loss with each batch."""
    fields: dict[str, Any] = {"steps": 200, "checkpoints": (101, 200), "learning_rate": 1e-30}
    fields["optimizer"] = AdamW(warmup_steps=0, weight_decay=0)
    runs = [run_of(LONGER, seed=seed, **fields) for seed in seeds]
    results = train_stack(Stack.of(*runs), tmp_path, TrainingOptions(CPU))
    for run, result in zip(Stack.of(*runs).members, results, strict=True):
        model = initial_state(Stack.of(run), CPU, "sequential").model
        for checkpoint, steps in zip(result["checkpoints"], ((98, 99), (198, 199)), strict=True):
            losses = []
            for step in steps:
                prompts = LONGER.batch(Draws(run.seed, "train", torch.tensor(step)), run.batch_size)
                losses.append(LONGER.losses(model(prompts.tokens), prompts)[prompts.counted])
            score = checkpoint["evaluations"]["training"]["overall"][0]
            assert score == pytest.approx(torch.cat(losses).mean().item(), rel=1e-4)
            means = [own.mean().item() for own in losses]
            assert score != pytest.approx(sum(means) / 2, rel=1e-6)
