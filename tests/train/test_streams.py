"""The recipe of the LSTM of Xie et al.: windows of streams, a carried state, decay at plateaus."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from bench.models.architecture import Architecture
from bench.models.architectures import ARCHITECTURES
from bench.models.mixers.block import Block, Place
from bench.models.sizes import Size
from bench.optimizers import AdamW
from bench.run import Run
from bench.stack import Stack
from bench.tasks.draws import Draws
from bench.tasks.languages.ginc import GINC
from bench.tasks.languages.regbench import RegBench
from bench.tasks.regression import LinearRegression
from bench.train import Interrupted, checkpoint, loop
from bench.train.backends_agree import training_losses
from bench.train.loop import Progress, TrainingOptions, _Training, train, train_stack
from bench.train.notes import MemberNotes, StackNotes
from bench.train.optimizer import StackOptimizer
from bench.train.state import State, initial_state
from bench.train.step import eager_step

CPU = torch.device("cpu")
STREAMS, WINDOWS, BLOCK = 3, 4, 16
TASK = GINC(symbols=50, block=BLOCK, documents=1)
LSTM = ARCHITECTURES["lstm"].with_options({"carry": True, "dropout": 0.0})


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """Twelve blocks in place of GINC's documents, as the words of three streams."""
    blocks = torch.randint(0, 50, (STREAMS * WINDOWS, BLOCK), generator=torch.Generator().manual_seed(0))
    name = "bench.tasks.languages.ginc._training_blocks"
    monkeypatch.setattr(name, lambda *settings: blocks.to(torch.uint8))
    monkeypatch.setattr(GINC, "windows_per_stream", lambda task, size: len(blocks) // size)
    return blocks.view(STREAMS, -1)


def run_of(architecture: Any = LSTM, **fields: Any) -> Run:
    usual: dict[str, Any] = {
        "task": TASK,
        "architecture": architecture,
        "size": Size(layers=2, width=8, heads=2).of(architecture),
        "learning_rate": 1e-2,
        "clip": 1e9,
        "batch_size": STREAMS,
        "steps": 9,
        "checkpoints": (9,),
        "evaluation_prompts": 6,
    }
    return Run.model_validate({**usual, **fields})


def fresh(run: Run) -> State:
    return initial_state(Stack.of(run), CPU, "sequential")


def test_batches_are_consecutive_windows_of_streams(words: torch.Tensor) -> None:
    for step in range(2 * WINDOWS):
        prompts = TASK.windows(Draws(0, "train", torch.tensor(step)), STREAMS)
        begin = step % WINDOWS * BLOCK
        assert torch.equal(prompts.tokens, words[:, begin : begin + BLOCK] + 1)
        following = words[:, begin + 1 : begin + BLOCK + 1] + 1
        assert torch.equal(prompts.targets[:, : following.shape[1]], following)
        assert prompts.counted is not None
        # The last word of a stream has no target, any other last word of a window has one.
        assert prompts.counted.sum().item() == STREAMS * (BLOCK - (step % WINDOWS == WINDOWS - 1))


def test_windows_with_a_carried_state_are_one_long_text(words: torch.Tensor) -> None:
    """With parameters that do not move. The second epoch begins with zeros again."""
    losses, _ = training_losses(run_of(learning_rate=1e-30, steps=8, checkpoints=(8,)), CPU, "sequential")
    model = fresh(run_of()).model.eval()
    logits = model(words[:, :-1] + 1)
    expected = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), words[:, 1:].flatten() + 1, reduction="none"
    )
    windows = [window.mean().item() for window in expected.view(STREAMS, -1).split(BLOCK, dim=1)]
    assert losses == pytest.approx([*windows, *windows], rel=1e-5)
    plain = run_of(ARCHITECTURES["lstm"].with_options({"dropout": 0.0}), learning_rate=1e-30)
    model = fresh(plain).model
    alone = model(words[:, BLOCK : 2 * BLOCK] + 1)
    assert not torch.allclose(alone, logits[:, BLOCK : 2 * BLOCK], atol=1e-4)


def test_the_state_is_carried_without_its_gradient(words: torch.Tensor) -> None:
    state = fresh(run_of())
    step = eager_step(state)
    step()
    before = [carried.clone() for carried in state.carried]
    assert all(not carried.requires_grad and carried.abs().min() > 0 for carried in before)
    assert [tuple(carried.shape) for carried in before] == [(2, 1, STREAMS, 8)] * 2
    step()
    assert not any(torch.equal(old, new) for old, new in zip(before, state.carried, strict=True))


class RunningSum(Block):
    """h plus the sum of all tokens of the stream before."""

    name: Literal["running_sum"] = "running_sum"

    @property
    def carries(self) -> bool:
        return True

    def parameters(self, D: int) -> int:
        return 0

    def multiplications(self, L: int, D: int) -> int:
        return L * D

    def build(self, place: Place) -> torch.nn.Module:
        return RunningSumModule(place.width)


class RunningSumModule(torch.nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.carried: torch.Tensor | None = None

    def begin_streams(self, batch: int) -> torch.Tensor:
        self.carried = torch.zeros(batch, 1, self.width)
        return self.carried

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        if self.carried is None:
            return h.cumsum(1)
        sums = self.carried.clone() + h.cumsum(1)
        self.carried.copy_(sums[:, -1:].detach())
        return sums


def test_any_block_can_carry_its_state(words: torch.Tensor) -> None:
    run = run_of(Architecture(name="sums", layer=(RunningSum(),)))
    state = fresh(run)
    assert [tuple(carried.shape) for carried in state.carried] == [(STREAMS, 1, 8)] * 2
    eager_step(state)()
    assert all(carried.abs().min() > 0 for carried in state.carried)
    assert state.tensors().keys() >= {"carried_0", "carried_1"}, "a checkpoint has them"


def test_a_checkpoint_has_the_carried_state(words: torch.Tensor, tmp_path: Path) -> None:
    run = run_of()
    straight, _ = training_losses(run, CPU, "sequential")
    state = fresh(run)
    step = eager_step(state)
    for _ in range(6):  # in the middle of the second epoch
        step()
    checkpoint.save(tmp_path, state.stack, state, StackNotes([MemberNotes()]))
    resumed = fresh(run)
    assert checkpoint.restore(tmp_path, resumed) is not None
    resumed.meters.reset()
    step = eager_step(resumed)
    for _ in range(3):
        step()
    assert resumed.meters.loss_sum.item() == pytest.approx(sum(straight[6:]), abs=0)


def test_only_tasks_with_streams_have_a_state_to_carry() -> None:
    assert GINC().windows_per_stream(8) == 1250
    assert run_of().id != run_of(ARCHITECTURES["lstm"].with_options({"dropout": 0.0})).id
    assert "carry" not in str(run_of(ARCHITECTURES["lstm"]).identity())
    with pytest.raises(ValueError, match="'linear_regression' has no streams"):
        run_of(task=LinearRegression())
    with pytest.raises(ValueError, match="641 streams side by side, and the task 'ginc' has too little text"):
        run_of(batch_size=641)


PLATEAU = AdamW(warmup_steps=0, decay="plateau")
LANGUAGES = RegBench(
    languages=2, max_states=5, max_letters=6, max_string_length=6, min_strings=3, max_strings=5
)


def plateau_run() -> Run:
    return run_of(
        ARCHITECTURES["transformer"],
        task=LANGUAGES,
        optimizer=PLATEAU,
        size=Size(layers=1, width=32, heads=2),
        steps=60,
        checkpoints=tuple(range(10, 61, 10)),
    )


def test_the_rate_falls_to_a_quarter_at_every_checkpoint_without_a_new_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    update = StackOptimizer.__call__

    def watched(self: StackOptimizer, *arguments: Any) -> None:
        update(self, *arguments)
        rates.append(self.rates.item())

    monkeypatch.setattr(StackOptimizer, "__call__", watched)
    result = train(plateau_run(), tmp_path / "straight", TrainingOptions(CPU))
    losses = [entry["validation_loss"] for entry in result["checkpoints"]]
    expected, rate, best = [], 1e-2, float("inf")
    for loss in losses:
        expected += [rate] * 10
        rate, best = (rate, loss) if loss < best else (rate / 4, best)
    assert rates == pytest.approx(expected)
    assert len(set(expected)) > 1
    rates.clear()
    seen: list[Progress] = []
    stop = TrainingOptions(CPU, report=seen.append, asked_to_stop=lambda: seen[-1].step >= 45)
    with pytest.raises(Interrupted):
        train(plateau_run(), tmp_path / "resumed", stop)
    resumed = train(plateau_run(), tmp_path / "resumed", TrainingOptions(CPU))
    assert rates == pytest.approx(expected)
    assert resumed["checkpoints"] == result["checkpoints"]


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_rates_that_fell_stay_low_when_a_stack_becomes_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = plateau_run()
    stack = Stack.of(run, run.model_copy(update={"seed": run.seed + 1}))
    place = stack.members.index(run)
    rates: dict[int, list[float]] = {1: [], 2: []}
    update, take = StackOptimizer.__call__, _Training._take

    def watched(self: StackOptimizer, *arguments: Any) -> None:
        update(self, *arguments)
        rates[len(self.members)].append(self.rates[self.members.index(run)].item())

    def diverging(self: _Training, *arguments: Any) -> float:
        seconds = take(self, *arguments)
        if int(self.state.step) == 45:
            self.notes.members[1 - place].diverge("the other one diverged")
        return seconds

    monkeypatch.setattr(StackOptimizer, "__call__", watched)
    monkeypatch.setattr(_Training, "_take", diverging)
    monkeypatch.setattr(loop, "LEAST_STEPS_LEFT", 1)
    result = train_stack(stack, tmp_path, TrainingOptions(CPU))[place]
    losses = [entry["validation_loss"] for entry in result["checkpoints"]]
    falls = [losses[index] >= min(losses[:index], default=math.inf) for index in range(len(losses))]
    expected = [1e-2 / 4 ** sum(falls[: step // 10]) for step in range(60)]
    assert len(rates[2]) == 45
    assert rates[2] + rates[1] == pytest.approx(expected)
    assert any(falls[:4]), "a rate fell before the stack became smaller"


def test_only_tasks_with_a_validation_loss_have_plateaus() -> None:
    with pytest.raises(ValueError, match="'linear_regression' has no validation loss"):
        run_of(ARCHITECTURES["transformer"], task=LinearRegression(), optimizer=PLATEAU)
    assert PLATEAU.rate_factor(torch.tensor(5), 9).item() == 1
