"""Stacks: members train as they would alone, whatever happens to others; a begun stack stays together."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from command import bench, said
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import small_run, without_dropout
from toy import toy_suite

from bench import suite as suites
from bench.dispatch.job import Machine
from bench.dispatch.members import StackMembers
from bench.dispatch.order import Order
from bench.dispatch.stacking import record_members
from bench.dispatch.state import Folder
from bench.dispatch.status import run_status
from bench.dispatch.worker import _Worker
from bench.models.architectures import PAPER
from bench.models.mixers.block import Block
from bench.models.sizes import Size
from bench.results import Pool
from bench.run import Run
from bench.stack import Stack, even_parts, stack_shape, stackable
from bench.tasks import TASKS, Task
from bench.tasks.draws import Draws
from bench.tasks.regression import LinearRegression
from bench.train import Interrupted, loop
from bench.train.loop import Progress, TrainingOptions, train, train_stack
from bench.train.parallel import Group
from bench.train.state import State, initial_state
from bench.train.step import eager_step

CPU = torch.device("cpu")
STACKABLE = [architecture.name for architecture in PAPER if architecture.name != "lstm"] + ["gated_deltanet"]
LINEAR = TASKS["linear_regression"](n_dims=3, n_points=5)
SPARSE = TASKS["sparse_linear_regression"](n_dims=3, n_points=5, sparsity=2)

pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")


def member(name: str = "mamba", **fields: Any) -> Run:
    """A run that trains alone as in a stack."""
    usual = {"steps": 12, "checkpoints": (6, 12), "evaluation_prompts": 16}
    return without_dropout(small_run(name, **{**usual, **fields}))


def begun(stack: Stack, results: Path) -> Path:
    """The folder of a stack that has begun."""
    record_members(stack, results)
    return Folder.of(results, stack.id).path


def numbers(result: dict[str, Any]) -> str:
    return json.dumps({key: value for key, value in result.items() if key != "provenance"}, sort_keys=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", STACKABLE)
def test_a_member_trains_as_it_would_alone(name: str, tmp_path: Path) -> None:
    """Members of one stream of prompts, of another seed, of another task with prompts of one shape."""
    runs = [
        member(name, learning_rate=1e-3),
        member(name, clip=0.1),
        member(name, seed=1),
        member(name, seed=1, task=SPARSE),
    ]
    stack = Stack.of(*runs)
    for run, result in zip(
        stack.members, train_stack(stack, tmp_path / "stack", TrainingOptions(CPU)), strict=True
    ):
        alone = train(run, tmp_path / run.id, TrainingOptions(CPU))
        assert result["id"] == run.id
        assert result["curve"]["loss"] == pytest.approx(alone["curve"]["loss"], rel=1e-4)
        assert result["curve"]["gradient_norm"] == pytest.approx(alone["curve"]["gradient_norm"], rel=1e-3)
        score, expected = (r["checkpoints"][-1]["evaluations"]["report"]["mean"] for r in (result, alone))
        assert score == pytest.approx(expected, rel=1e-3)
        assert result["provenance"]["stack"]["members"] == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["chain_of_thought", "vector_mqar", "sparse_parity", "many_outlier_regression"]
)
def test_tasks_with_prompts_of_several_parts_can_be_stacked(name: str, tmp_path: Path) -> None:
    small = {
        "chain_of_thought": {"n_dims": 3, "n_points": 5, "hidden": 2},
        "vector_mqar": {"n_dims": 3, "pairs": 4, "queries": 2},
        "sparse_parity": {"n_dims": 6, "n_points": 6},
        "many_outlier_regression": {"n_dims": 3, "n_points": 30, "outlier_probability": 0.75},
    }
    runs = [
        member(task=TASKS[name](**small[name]), seed=seed, steps=4, checkpoints=(4,)) for seed in (0, 0, 1)
    ]
    runs[1] = runs[1].model_copy(update={"learning_rate": 1e-3})
    stack = Stack.of(*runs)
    for run, result in zip(
        stack.members, train_stack(stack, tmp_path / "stack", TrainingOptions(CPU)), strict=True
    ):
        alone = train(run, tmp_path / run.id, TrainingOptions(CPU))
        assert result["curve"]["loss"] == pytest.approx(alone["curve"]["loss"], rel=1e-4)


def after_steps(*runs: Run) -> dict[str, torch.Tensor]:
    state = initial_state(Stack.of(*runs), CPU, "sequential")
    step = eager_step(state)
    for _ in range(3):
        step()
    return state.tensors()


@pytest.mark.parametrize(
    "fields",
    [
        [{"seed": 0}, {"seed": 1}, {"seed": 2}],
        [{"seed": 0}, {"seed": 1}, {"seed": 1, "learning_rate": 1e-3}, {"seed": 2}],
        [{"seed": 0}, {"seed": 1}, {"seed": 1, "task": SPARSE}, {"seed": 3, "task": SPARSE, "clip": 0.1}],
        [{"seed": 0}, {"seed": 0, "clip": 0.1}, {"seed": 1, "task": SPARSE}, {"seed": 3, "task": SPARSE}],
        [{"seed": seed, "task": TASKS["noisy_recall"](prompt_length=8)} for seed in (5, 2)],
        [{"seed": seed, "task": TASKS["linear_dynamical_system"]()} for seed in (0, 1, 2)],
        [{"seed": seed, "task": TASKS["regbench"](languages=30, max_strings=10)} for seed in (0, 1)],
    ],
)
def test_prompts_of_all_seeds_at_once_train_as_those_of_one_after_the_other(
    fields: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [member("transformer", **values) for values in fields]
    together = after_steps(*runs)
    monkeypatch.setattr(Task, "joins_seeds", False)
    for name, values in after_steps(*runs).items():
        assert torch.equal(together[name], values), name


class HalfNoisy(LinearRegression):
    """A task of a user whose prompts depend on their place: only the first half of a batch is noisy."""

    name: Literal["half_noisy"] = "half_noisy"  # type: ignore[assignment]

    def evaluate(self, inputs: torch.Tensor, draws: Draws, n_dims: int | torch.Tensor | None) -> torch.Tensor:
        values = super().evaluate(inputs, draws, n_dims)
        noise = 9 * draws.normal("noise", *values.shape, double=True)
        is_noisy = torch.arange(len(values)) < len(values) // 2
        return torch.where(is_noisy.unsqueeze(1), values + noise, values)


def test_members_with_a_task_of_a_user_have_the_prompts_that_they_have_alone() -> None:
    run = member("transformer").model_copy(update={"task": HalfNoisy(n_dims=3, n_points=5)})
    runs = [run.model_copy(update={"seed": seed}) for seed in (0, 1, 2)]
    alone = [after_steps(run)["loss_sum"] for run in Stack.of(*runs).members]
    torch.testing.assert_close(after_steps(*runs)["loss_sum"], torch.cat(alone), rtol=1e-5, atol=0)


@pytest.mark.slow
def test_a_stack_interrupted_and_resumed_ends_with_the_same_bytes(tmp_path: Path) -> None:
    stack = Stack.of(*(member(learning_rate=rate) for rate in (1e-3, 2e-3, 4e-3)))
    straight = train_stack(stack, tmp_path / "straight", TrainingOptions(CPU))
    seen: list[Progress] = []
    options = TrainingOptions(CPU, report=seen.append, asked_to_stop=lambda: seen[-1].step >= 5)
    with pytest.raises(Interrupted):
        train_stack(stack, tmp_path / "resumed", options)
    resumed = train_stack(stack, tmp_path / "resumed", TrainingOptions(CPU))
    assert [numbers(result) for result in resumed] == [numbers(result) for result in straight]
    assert resumed[0]["provenance"]["resumptions"] == 1
    pieces = resumed[0]["provenance"]["pieces"]
    assert [piece["from_step"] for piece in pieces] == [0, seen[-1].step]
    assert {piece["members"] for piece in pieces} == {3}
    assert [{**piece, "from_step": 0} for piece in pieces] == 2 * straight[0]["provenance"]["pieces"]


def test_a_member_that_diverges_has_its_result_at_once_and_leaves_the_others_alone(tmp_path: Path) -> None:
    calm = [member("transformer", learning_rate=rate) for rate in (1e-3, 2e-3)]
    wild = member("transformer", learning_rate=1e30, clip=1e30)
    stack = Stack.of(*calm, wild)
    ended: list[tuple[int, int]] = []
    last: list[Progress] = []
    options = TrainingOptions(
        CPU,
        report=last.append,
        ended=lambda k, result: ended.append((k, last[-1].step if last else 0)),
    )
    results = dict(zip(stack.members, train_stack(stack, tmp_path / "stack", options), strict=True))
    assert results[wild]["outcome"] == "diverged"
    assert "is not finite at step" in results[wild]["reason"]
    assert ended[0] == (stack.members.index(wild), ended[0][1])
    assert ended[0][1] < wild.steps
    other = member("transformer", learning_rate=3e-3, clip=1e30)
    peaceful = Stack(tuple(other if run == wild else run for run in stack.members))
    expected = dict(
        zip(peaceful.members, train_stack(peaceful, tmp_path / "other", TrainingOptions(CPU)), strict=True)
    )
    for run in calm:
        assert results[run]["outcome"] == "finished"
        assert numbers(results[run]) == numbers(expected[run])


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many members the steps compute, from one capture to the next; any steps left are enough."""
    sizes: list[int] = []

    def step(state: State, group: Group | None = None) -> Callable[[], None]:
        sizes.append(len(state.stack))
        return eager_step(state, group)

    monkeypatch.setattr(loop, "eager_step", step)
    monkeypatch.setattr(loop, "LEAST_STEPS_LEFT", 1)
    return sizes


def some_diverge(stays: str, name: str = "transformer", **fields: Any) -> Stack:
    """A stack with a member that stays for each `1` of `stays`, and one that diverges for each `0`."""
    rates = [1e-3 * (1 + place) if letter == "1" else 1e30 for place, letter in enumerate(stays)]
    runs = [
        member(name, seed=seed, learning_rate=rate, clip=1e30, **fields) for seed, rate in enumerate(rates)
    ]
    return Stack.of(*runs)


@pytest.mark.parametrize(
    ("stays", "sizes"), [("110", [3, 2]), ("0110", [4, 2]), ("010", [3, 1]), ("1110", [4]), ("101", [3, 2])]
)
def test_members_that_ended_are_left_out_and_the_others_train_on(
    stays: str, sizes: list[int], computed: list[int], tmp_path: Path
) -> None:
    """Fewer than three quarters go on alone; each keeps its own parameters, moments, rate and clip."""
    stack = some_diverge(stays)
    weights: dict[int, dict[str, torch.Tensor]] = {}
    options = TrainingOptions(
        CPU, keep_weights=lambda k, tensors: weights.update({k: {n: v.clone() for n, v in tensors.items()}})
    )
    results = train_stack(stack, tmp_path / "stack", options)
    assert computed == sizes
    for k, (run, result) in enumerate(zip(stack.members, results, strict=True)):
        assert result["outcome"] == ("finished" if stays[k] == "1" else "diverged")
        if result["outcome"] == "diverged":
            continue
        kept: list[dict[str, torch.Tensor]] = []
        keep = TrainingOptions(CPU, keep_weights=lambda _, tensors, kept=kept: kept.append(dict(tensors)))
        alone = train(run, tmp_path / run.id, keep)
        assert result["curve"]["step"] == alone["curve"]["step"]
        assert result["curve"]["loss"] == pytest.approx(alone["curve"]["loss"], rel=1e-4)
        score, expected = (r["checkpoints"][-1]["evaluations"]["report"]["mean"] for r in (result, alone))
        assert score == pytest.approx(expected, rel=1e-3)
        torch.testing.assert_close(weights[k], kept[0], rtol=1e-3, atol=1e-4)
    assert weights.keys() == {k for k, letter in enumerate(stays) if letter == "1"}


def test_a_stack_that_became_smaller_resumes_with_the_same_bytes(computed: list[int], tmp_path: Path) -> None:
    stack = some_diverge("01100")
    straight = [numbers(result) for result in train_stack(stack, tmp_path / "straight", TrainingOptions(CPU))]
    assert computed == [5, 2]
    for at in range(1, stack.first.steps):
        folder = tmp_path / f"resumed-{at}"
        seen: list[Progress] = []
        options = TrainingOptions(
            CPU, report=seen.append, asked_to_stop=lambda seen=seen, at=at: seen[-1].step >= at
        )
        with pytest.raises(Interrupted):
            train_stack(stack, folder, options)
        ended: list[int] = []
        again = TrainingOptions(CPU, ended=lambda k, _, ended=ended: ended.append(k))
        assert [numbers(result) for result in train_stack(stack, folder, again)] == straight, at
        assert {1, 2} <= set(ended)
    assert computed[-1] == 2


def test_a_stack_with_few_steps_left_stays_as_it_is(
    computed: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = some_diverge("100")
    monkeypatch.setattr(loop, "LEAST_STEPS_LEFT", stack.first.steps)
    train_stack(stack, tmp_path, TrainingOptions(CPU))
    assert computed == [3]


def test_a_stack_of_runs_that_all_diverge_ends_early(tmp_path: Path) -> None:
    stack = Stack.of(*(member("transformer", learning_rate=1e30, clip=1e30, seed=seed) for seed in (0, 1)))
    results = train_stack(stack, tmp_path, TrainingOptions(CPU))
    assert [result["outcome"] for result in results] == ["diverged", "diverged"]


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([1e-3, 2e-3, 4e-3]),
            st.sampled_from([0, 1]),
            st.sampled_from([LINEAR, SPARSE]),
        ),
        min_size=1,
        max_size=8,
        unique=True,
    )
)
def test_a_stack_has_one_id_whatever_the_order_and_keeps_streams_together(fields: list[Any]) -> None:
    runs = [member(learning_rate=rate, seed=seed, task=task) for rate, seed, task in fields]
    stack = Stack.of(*runs)
    assert Stack.of(*reversed(runs)) == stack
    assert stack.id == (runs[0].id if len(runs) == 1 else Stack.of(*reversed(runs)).id)
    streams = [(run.task_id, run.seed) for run in stack.members]
    changes = sum(a != b for a, b in itertools.pairwise(streams))
    assert changes == len(set(streams)) - 1
    if len(runs) > 1:
        first, second = stack.halves()
        assert first.members + second.members == stack.members
        assert abs(len(first) - len(second)) <= 1


@pytest.mark.parametrize(
    "other",
    [
        {"size": Size(layers=1, width=32, heads=None)},
        {"steps": 6, "checkpoints": (6,)},
        {"batch_size": 4},
        {"task": TASKS["linear_regression"](n_dims=3, n_points=6)},
        {"evaluation_prompts": 8},
    ],
)
def test_runs_of_other_shapes_are_refused(other: dict[str, Any]) -> None:
    run, stranger = member(), member(**other)
    assert stack_shape(run) != stack_shape(stranger)
    with pytest.raises(ValueError, match="one shape"):
        Stack.of(run, stranger)


def test_runs_with_a_block_that_does_not_say_so_are_not_stacked(monkeypatch: pytest.MonkeyPatch) -> None:
    run = member("mambaformer")
    assert stackable(run)
    monkeypatch.setattr(type(run.architecture.layer[-1]), "stackable", Block.stackable)
    assert not stackable(run)
    assert not stackable(member("lstm"))


@given(st.integers(0, 60), st.integers(1, 20))
def test_parts_are_few_and_even_and_keep_the_order(count: int, most: int) -> None:
    runs = [member(seed=seed) for seed in range(count)]
    parts = even_parts(runs, most)
    assert [run for part in parts for run in part] == runs
    assert len(parts) == math.ceil(count / most)
    sizes = {len(part) for part in parts}
    assert max(sizes, default=0) <= most
    assert max(sizes, default=0) - min(sizes, default=0) <= 1


def test_a_resumed_stack_shows_the_step_of_a_member_that_has_not_ended(tmp_path: Path) -> None:
    stack = Stack.of(*(member(learning_rate=rate) for rate in (1e-3, 2e-3)))
    second = Folder.of(tmp_path, stack.members[1].id)
    cost = {"evaluation_seconds": 9.0, "evaluation_flops": 1_000}
    second.beat(step=7, **cost)  # the first has ended: its folder is gone
    order = Order(tmp_path, (), {})
    (begun(stack, tmp_path) / "checkpoint.pt").write_bytes(b"something")
    members = StackMembers(stack, order, Machine(), {}, lambda began: {}, lambda folder, error: None)
    members.begin()
    beat = second.heartbeat()
    assert beat is not None
    assert beat["step"] == 7
    assert {name: beat[name] for name in cost} == cost  # the time left would jump without them
    assert run_status(stack.members[1], tmp_path, Pool()).step == 7
    (Folder.of(tmp_path, stack.id).path / "checkpoint.pt").unlink()
    members.begin()
    assert second.last_progress() == (0, 0), "what was not saved is done again"


def test_the_log_says_where_a_run_trains_before_its_heartbeat_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sees that it runs reads its log at once."""
    run, printed = member(), []

    def beat(folder: Folder, **fields: Any) -> None:
        printed.append(capsys.readouterr().out)
        raise InterruptedError

    monkeypatch.setattr(Folder, "beat", beat)
    worker = _Worker(Order(tmp_path, (), {}), Machine(), lambda: False, [], None)  # type: ignore[arg-type]
    with pytest.raises(InterruptedError):
        worker._train(Stack.of(run), 0)
    assert run.label in printed[0]


def test_the_log_says_that_a_run_was_asked_to_stop_before_its_heartbeat_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for the heartbeat reads the log at once."""
    stack = Stack.of(member())
    order = Order(tmp_path, (), {})
    members = StackMembers(stack, order, Machine(), {}, lambda began: {}, lambda folder, error: None)
    members.begin()
    write, seen = Folder.beat, []

    def beat(folder: Folder, **fields: Any) -> None:
        seen.append((fields.get("ended"), capsys.readouterr().out))
        write(folder, **fields)

    monkeypatch.setattr(Folder, "beat", beat)
    members.interrupted()
    assert [ended for ended, _ in seen] == ["asked to stop"]
    assert "asked to stop: saved" in seen[0][1]


@pytest.mark.slow
def test_a_filter_that_leaves_out_members_of_a_begun_stack_resumes_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(toy_suite(seeds=[0, 1, 2], steps=12))
    runs = suites.load(path).runs
    (begun(Stack.of(*runs[:2]), tmp_path / "results") / "checkpoint.pt").write_bytes(b"something")
    options = ("--dry-run", "--device", "cpu", "--filter", f"seed={runs[0].seed}")
    output = said(bench("run", path, *options, cwd=tmp_path))
    assert "1 run more will train" in output
    assert [run.id in output for run in runs] == [True, True, False]
