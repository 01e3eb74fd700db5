"""Training: one loop, whose numbers depend on the run alone."""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib.metadata
import json
import shutil
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import small_run, training_loss

from bench.files import as_read
from bench.kernels import registry
from bench.models.architectures import ARCHITECTURES
from bench.models.sizes import Size
from bench.optimizers import AdamW
from bench.results import per_prompt, read_run
from bench.results.pieces import trained_pieces
from bench.run import Run
from bench.stack import Stack
from bench.tasks import TASKS, Task
from bench.tasks.draws import Draws
from bench.train import CHECKPOINT, Interrupted, checkpoint, loop
from bench.train.evaluate import member_scores
from bench.train.evaluation_prompts import evaluation_set
from bench.train.loop import Progress, TrainingOptions, train, train_stack
from bench.train.notes import MemberNotes, StackNotes
from bench.train.predictions import StackPredictor
from bench.train.state import State, initial_state
from bench.train.step import eager_step
from bench.train.summaries import packed, rounded

CPU = torch.device("cpu")
NAMES = list(ARCHITECTURES)


def fresh(run: Run) -> State:
    return initial_state(Stack.of(run), CPU, "sequential")


def numbers(result: dict[str, Any]) -> str:
    """A result without its provenance, as bytes would be compared."""
    return json.dumps({key: value for key, value in result.items() if key != "provenance"}, sort_keys=True)


def interrupted_after(steps: int, run: Run, folder: Path) -> None:
    seen: list[Progress] = []
    with pytest.raises(Interrupted):
        train(
            run,
            folder,
            TrainingOptions(CPU, report=seen.append, asked_to_stop=lambda: seen[-1].step >= steps),
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_run_interrupted_and_resumed_ends_with_the_same_bytes(name: str, tmp_path: Path) -> None:
    run = small_run(name)
    straight = train(run, tmp_path / "straight", TrainingOptions(CPU))
    interrupted_after(4, run, tmp_path / "resumed")
    interrupted_after(17, run, tmp_path / "resumed")
    resumed = train(run, tmp_path / "resumed", TrainingOptions(CPU))
    assert resumed["provenance"]["resumptions"] == 2
    assert numbers(resumed) == numbers(straight)


def test_a_result_states_the_kernels_of_each_process_that_trained_it(tmp_path: Path) -> None:
    run = small_run("standard_hybrid")
    seen: list[Progress] = []
    first = TrainingOptions(CPU, "reference", report=seen.append, asked_to_stop=lambda: seen[-1].step >= 5)
    with pytest.raises(Interrupted):
        train(run, tmp_path, first)
    result = read_run(as_read(train(run, tmp_path, TrainingOptions(CPU, "sequential"))))
    (begin, change, before), (again, end, after) = trained_pieces(result)
    assert (begin, change, again, end) == (0, seen[-1].step, seen[-1].step, run.steps)
    assert (before.kernels, after.kernels) == ("reference", "sequential")
    assert before.backends
    assert after.backends
    assert before.backends.keys() == after.backends.keys() > {"attention", "Mamba block", "clip and Adam"}
    assert {*before.backends.values()} == {"reference"}
    assert after.backends["attention"] == after.backends["Mamba block"] == "sequential"
    # `sequential` has no code of its own for it.
    assert after.backends["clip and Adam"] == registry.find("clip and Adam").place("sequential")
    for piece in (before, after):
        assert piece.torch == importlib.metadata.version("torch")
        assert (piece.captured, piece.members, piece.processes) == (False, 1, 1)
        assert piece.source


def test_the_recorded_kernels_do_not_depend_on_what_was_imported_before(tmp_path: Path) -> None:
    """A kernel that consists of others loads them at its first import alone."""
    pieces = [
        train(small_run("mamba", seed=seed), tmp_path / str(seed), TrainingOptions(CPU))["provenance"][
            "pieces"
        ]
        for seed in (0, 1)
    ]
    assert pieces[0] == pieces[1]
    assert "selective scan" not in pieces[0][0]["backends"]  # a part of Mamba's block


@pytest.mark.parametrize("name", ["mamba", "noisy"])
def test_an_evaluation_goes_on_where_it_was_interrupted_and_ends_with_the_same_bytes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that scores one part of the prompts and is stopped has done something: evaluations end.

    A model of a user may draw random numbers in an evaluation. They are drawn once, as without a stop.
    """
    run = small_run("mamba").model_copy(update={"evaluation_prompts": 200})
    if name == "noisy":
        predict = StackPredictor.predict

        def noisy(predictor: StackPredictor, member: int, tokens: torch.Tensor) -> torch.Tensor:
            outputs = predict(predictor, member, tokens)
            return outputs + torch.randn_like(outputs)

        monkeypatch.setattr(StackPredictor, "predict", noisy)
    straight = train(run, tmp_path / "straight", TrainingOptions(CPU))
    processes = 0
    ended: list[dict[str, Any]] = []
    while not ended:
        processes += 1
        seen, asked = [Progress(0, (), 0.0)], 0

        def stop(seen: list[Progress] = seen, processes: int = processes) -> bool:
            nonlocal asked
            asked += seen[-1].step == run.steps or processes > 1
            return asked > 1

        options = TrainingOptions(
            CPU, report=seen.append, asked_to_stop=stop, ended=lambda k, result: ended.append(result)
        )
        with contextlib.suppress(Interrupted):
            train(run, tmp_path / "resumed", options)
        assert processes < 50
        # The time left is known in an evaluation, also before the process takes its first step.
        assert all(progress.steps_per_second > 0 for progress in seen[1:])
    assert processes > 4
    (resumed,) = ended
    costs = [result["provenance"]["evaluation_flops"] for result in (resumed, straight)]
    assert costs == 2 * [run.evaluation_flops()]  # no part was scored twice, and none is forgotten
    assert resumed["provenance"]["pieces"][-1]["from_step"] == run.steps
    assert numbers(resumed) == numbers(straight)


def test_an_evaluation_reports_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that reports nothing for ten minutes is said to hang, and an evaluation may take longer."""
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_REPORTS", 0.0)
    run = small_run("mamba").model_copy(update={"evaluation_prompts": 200})
    seen: list[Progress] = []
    train(run, tmp_path, TrainingOptions(CPU, report=seen.append))
    at_end = [progress for progress in seen if progress.step == run.steps]
    assert [progress.parts for progress in at_end] == [0, *range(len(at_end) - 1)]
    assert len(at_end) > 8
    assert {progress.losses for progress in at_end} == {at_end[0].losses}
    flops = [progress.evaluation_flops[0] for progress in at_end]
    assert flops == sorted(flops)
    assert 0 < flops[0] < flops[-1] < run.evaluation_flops()
    assert at_end[-1].evaluation_seconds > at_end[0].evaluation_seconds > (0,)
    assert seen[0].evaluation_flops == (0,)


@pytest.mark.parametrize(
    "task",
    [
        TASKS["linear_regression"](n_dims=3, n_points=5),
        TASKS["many_outlier_regression"](n_dims=3, n_points=8, outlier_probability=0.5),  # clean prompts too
        TASKS["finite_regression"](n_dims=3, n_points=5),
        TASKS["word_problem"](),
    ],
    ids=lambda task: task.name,
)
@pytest.mark.parametrize("name", ["mamba", "transformer"])
def test_the_cost_of_evaluations_is_known_before_they_are_made(name: str, task: Task, tmp_path: Path) -> None:
    """Every prompt that is scored counts: on all sets at each checkpoint, and longer ones at the end."""
    settings = {"task": task, "steps": 3, "checkpoints": (1, 3), "evaluation_prompts": 70}
    stack = Stack.of(*(small_run(name, **settings, learning_rate=rate) for rate in (1e-3, 2e-3)))
    results = train_stack(stack, tmp_path, TrainingOptions(CPU, "reference"))
    for run, result in zip(stack.members, results, strict=True):
        assert result["provenance"]["evaluation_flops"] == run.evaluation_flops()
        assert result["provenance"]["evaluation_seconds"] > 0
    prompts = run.evaluation_prompts * run.forward_flops(task.full_length)
    longer = {} if run.architecture.length_fault else task.longer_evaluations()
    at_end = sum(70 * run.forward_flops(entry.task.full_length) for entry in longer.values())
    assert run.evaluation_flops() == 2 * (2 + len(task.other_evaluations)) * prompts + at_end
    assert bool(longer) == (name == "mamba" and bool(task.longer_evaluations()))


class Killed(BaseException):
    """The process ends here, whatever it is doing."""


def test_a_process_that_is_killed_in_an_evaluation_loses_one_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small_run("mamba").model_copy(update={"evaluation_prompts": 200})
    predict, parts = StackPredictor.predict, 0

    def counted(predictor: StackPredictor, member: int, tokens: torch.Tensor) -> torch.Tensor:
        nonlocal parts
        parts += 1
        if parts == death:
            raise Killed
        return predict(predictor, member, tokens)

    monkeypatch.setattr(StackPredictor, "predict", counted)
    death = -1
    straight = train(run, tmp_path / "straight", TrainingOptions(CPU))
    in_all, parts = parts, 0
    death = in_all - 1
    options = TrainingOptions(CPU, save_every=0.0)
    with pytest.raises(Killed):
        train(run, tmp_path / "resumed", options)
    resumed = train(run, tmp_path / "resumed", options)
    assert parts == in_all + 1
    assert numbers(resumed) == numbers(straight)


def test_a_full_disk_between_two_parts_of_longer_prompts_is_no_reason_to_leave_them_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small_run("mamba").model_copy(update={"evaluation_prompts": 200})
    save = checkpoint.save

    def full(folder: Path, stack: Stack, state: State, notes: StackNotes, plugins: str = "") -> None:
        if any(part.startswith("longer") for part in notes.parts):
            raise OSError(errno.ENOSPC, "No space left on device")
        save(folder, stack, state, notes, plugins)

    monkeypatch.setattr(checkpoint, "save", full)
    with pytest.raises(OSError, match="No space left"):
        train(run, tmp_path, TrainingOptions(CPU, save_every=0.0))


def test_a_training_frees_its_memory_as_soon_as_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A circle of references would keep it on the device while the next stack trains."""
    states: list[weakref.ref[State]] = []

    def noted(stack: Stack, device: torch.device, backend: str) -> State:
        state = initial_state(stack, device, backend)
        states.append(weakref.ref(state))
        return state

    monkeypatch.setattr(loop, "initial_state", noted)
    gc.collect()
    gc.disable()
    try:
        train(small_run("mamba"), tmp_path, TrainingOptions(CPU))
        assert [state() for state in states] == [None]
    finally:
        gc.enable()


@pytest.mark.slow
def test_looking_and_saving_change_no_number(tmp_path: Path) -> None:
    run = small_run("mamba")
    quiet = train(run, tmp_path / "a", TrainingOptions(CPU, save_every=1e9))
    busy = train(run, tmp_path / "b", TrainingOptions(CPU, save_every=0.0))
    assert numbers(quiet) == numbers(busy)


@pytest.mark.parametrize("fields", [{}, {"learning_rate": 1e30, "clip": 1e30}], ids=["finishes", "diverges"])
def test_a_run_reports_its_last_step_then_ends_and_saves_no_more(
    fields: dict[str, float], tmp_path: Path
) -> None:
    """Its result is stored and its folder removed when it ends; its log must say the last step by then."""
    run, folder = small_run("transformer", **fields), tmp_path / "run"
    seen: list[str] = []

    def stop() -> bool:
        return "ended" in seen

    def ended(member: int, result: dict[str, Any]) -> None:
        seen.append("ended")
        shutil.rmtree(folder, ignore_errors=True)

    def report(progress: Progress) -> None:
        seen.append(f"step {progress.step}")

    result = train(
        run, folder, TrainingOptions(CPU, save_every=0.0, report=report, ended=ended, asked_to_stop=stop)
    )
    assert seen[-1] == "ended"
    assert seen.count("ended") == 1
    if result["outcome"] == "finished":
        assert seen[-2] == f"step {run.steps}"
    assert not folder.exists()


@pytest.mark.parametrize(("save_every", "saves"), [(0.0, True), (1e9, False)])
def test_the_state_is_saved_as_often_as_asked(save_every: float, saves: bool, tmp_path: Path) -> None:
    there: list[bool] = []

    def report(progress: Progress) -> None:
        there.append((tmp_path / CHECKPOINT).exists())

    train(small_run(), tmp_path, TrainingOptions(CPU, save_every=save_every, report=report))
    assert there[0] is False, "a look comes before the save"
    assert len(there) > 1
    assert set(there[1:]) == {saves}


@pytest.mark.slow
def test_the_backend_changes_rounding_only(tmp_path: Path) -> None:
    run = small_run("mamba")
    fast, twin = (
        train(run, tmp_path / backend, TrainingOptions(CPU, kernels=backend))
        for backend in ("sequential", "reference")
    )
    assert fast["curve"]["loss"] == pytest.approx(twin["curve"]["loss"], rel=1e-4)


@pytest.mark.slow
def test_training_lowers_the_error(tmp_path: Path) -> None:
    run = small_run("mambaformer", steps=400, checkpoints=(400,), batch_size=32, evaluation_prompts=256)
    result = train(run, tmp_path, TrainingOptions(CPU))
    error, standard_error = result["checkpoints"][-1]["evaluations"]["report"]["overall"]
    assert error + 4 * standard_error < 0.85 * run.task.trivial


def test_runs_of_different_architectures_train_on_the_same_prompts() -> None:
    batches = []
    for name in ("transformer", "s4_mamba"):
        run = small_run(name)
        state = fresh(run)
        seen: list[torch.Tensor] = []
        state.model.register_forward_pre_hook(lambda _, tokens, seen=seen: seen.append(tokens[0].clone()))
        step = eager_step(state)
        for _ in range(3):
            step()
        batches.append(torch.stack(seen))
    assert torch.equal(*batches)
    assert not torch.equal(batches[0][0], batches[0][1])


def test_a_diverged_run_is_an_outcome_with_its_step_and_no_invented_numbers(tmp_path: Path) -> None:
    # The task of the released code's unscaled networks at a rate nobody would choose.
    run = small_run("transformer", learning_rate=1e30, clip=1e30)
    result = train(run, tmp_path, TrainingOptions(CPU))
    assert result["outcome"] == "diverged"
    assert "is not finite at step" in result["reason"]
    assert result["checkpoints"] == [] or result["checkpoints"][-1]["step"] < run.steps
    assert result["per_prompt"] == {"report": None}
    json.dumps(result, allow_nan=False)


def test_a_run_that_diverges_later_keeps_its_checkpoint_and_has_no_scores_of_its_end(tmp_path: Path) -> None:
    """The warm-up begins at a rate of zero, so the first step moves nothing and the second one destroys."""
    optimizer = AdamW(warmup_steps=1, start=0)
    run = small_run(learning_rate=1e30, clip=1e30, optimizer=optimizer, steps=4, checkpoints=(1, 4))
    result = train(run, tmp_path, TrainingOptions(CPU))
    assert result["outcome"] == "diverged"
    assert [checkpoint["step"] for checkpoint in result["checkpoints"]] == [1]
    assert result["per_prompt"] == {"report": None}
    # Step 0 is in the curve, step 1 was computed before its update, and step 2 is the first bad one.
    assert result["reason"] == "the loss or its gradient is not finite at step 2"


@pytest.mark.slow
def test_results_are_small_even_for_the_longest_task(tmp_path: Path) -> None:
    architecture = ARCHITECTURES["transformer"]
    run = Run(
        task=TASKS["sparse_parity"](),
        architecture=architecture,
        size=Size(layers=1, width=8, heads=1),
        learning_rate=1e-3,
        batch_size=2,
        steps=200,
        checkpoints=(100, 150, 200),
    )
    result = train(run, tmp_path, TrainingOptions(CPU))
    assert len(json.dumps(result)) < 21_000  # provenance of a real job adds about 1 KB
    assert len(result["curve"]["loss"]) == 100


def test_a_short_run_has_every_step_in_its_curve(tmp_path: Path) -> None:
    curve = train(small_run(steps=7, checkpoints=(7,)), tmp_path, TrainingOptions(CPU))["curve"]
    assert curve["step"] == [1, 2, 3, 4, 5, 6, 7]
    assert len(curve["loss"]) == len(curve["gradient_norm"]) == 7


def test_a_result_says_how_fast_and_with_what_it_was_trained(tmp_path: Path) -> None:
    began = time.monotonic()
    provenance = train(small_run(), tmp_path, TrainingOptions(CPU, kernels="reference"))["provenance"]
    # Seconds are rounded to milliseconds, and the evaluation is not among them.
    assert 0 < provenance["train_seconds"] < time.monotonic() - began
    expected = 30 / provenance["train_seconds"]
    assert provenance["steps_per_second"] == pytest.approx(expected, rel=0.05)
    others = {name: provenance[name] for name in ("scan", "captured", "processes", "resumptions")}
    assert others == {"scan": "reference", "captured": False, "processes": 1, "resumptions": 0}


def test_flops_are_recorded_at_every_checkpoint(tmp_path: Path) -> None:
    run = small_run()
    result = train(run, tmp_path, TrainingOptions(CPU))
    assert [one["training_flops"] for one in result["checkpoints"]] == [
        run.training_flops(10),
        run.training_flops(30),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", "truncate"])
def test_a_damaged_checkpoint_is_set_aside_and_training_starts_over(
    tmp_path: Path, damage: bytes | str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = small_run()
    straight = train(run, tmp_path / "straight", TrainingOptions(CPU))
    folder = tmp_path / "damaged"
    interrupted_after(12, run, folder)
    path = folder / CHECKPOINT
    path.write_bytes(
        path.read_bytes()[:1000]
        if damage == "truncate"
        else bytes(damage, "ascii")
        if isinstance(damage, str)
        else damage
    )
    result = train(run, folder, TrainingOptions(CPU))
    assert "training starts over" in capsys.readouterr().out
    assert (folder / "checkpoint.pt.unusable").exists()
    assert numbers(result) == numbers(straight)


@pytest.mark.slow
def test_a_checkpoint_of_another_run_is_not_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    interrupted_after(12, small_run(seed=1), tmp_path)
    result = train(small_run(), tmp_path, TrainingOptions(CPU))
    assert "belongs to" in capsys.readouterr().out
    assert numbers(result) == numbers(train(small_run(), tmp_path / "fresh", TrainingOptions(CPU)))


@pytest.mark.parametrize(
    "other",
    [
        {"random": {"python": [3, [-1] * 625, None], "numpy": None}},
        {"notes": {"members": [{"a field of another version": 1}]}},
        {"notes": {}},
        torch.zeros(2),
        [1],
    ],
)
def test_a_checkpoint_of_another_version_is_set_aside(tmp_path: Path, other: Any) -> None:
    run = small_run()
    state = fresh(run)
    checkpoint.save(tmp_path, state.stack, state, StackNotes([MemberNotes()]))
    path = tmp_path / CHECKPOINT
    if isinstance(other, dict):
        other = {**torch.load(path, weights_only=True), **other}
    torch.save(other, path)
    assert checkpoint.restore(tmp_path, state) is None
    assert (tmp_path / "checkpoint.pt.unusable").exists()


@pytest.mark.parametrize(("saved", "now"), [("", "b"), ("a", "b"), ("a", "")])
def test_a_checkpoint_of_another_version_of_a_plugin_is_set_aside(
    tmp_path: Path, saved: str, now: str
) -> None:
    """Two versions would otherwise train one model, and the result would name the second only."""
    state = fresh(small_run())
    checkpoint.save(tmp_path, state.stack, state, StackNotes([MemberNotes()]), saved)
    assert checkpoint.restore(tmp_path, state, saved) is not None
    assert checkpoint.restore(tmp_path, state, now) is None
    assert (tmp_path / "checkpoint.pt.unusable").exists()


def test_a_checkpoint_that_cannot_be_read_now_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = fresh(small_run())
    checkpoint.save(tmp_path, state.stack, state, StackNotes([MemberNotes()]))

    def refuse(path: Path) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        with pytest.raises(OSError, match="Input/output"):
            checkpoint.restore(tmp_path, state)
    assert checkpoint.restore(tmp_path, state) is not None


def test_a_checkpoint_that_would_execute_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return (Path.touch, (tmp_path / "executed",))  # type: ignore[return-value]

    run = small_run()
    torch.save({"runs": [run.id], "tensors": Evil()}, tmp_path / CHECKPOINT)
    assert checkpoint.restore(tmp_path, fresh(run)) is None
    assert not (tmp_path / "executed").exists()


def test_evaluation_sets_are_disjoint_and_fixed() -> None:
    task = TASKS["linear_regression"]()
    selection, report = (evaluation_set(task, purpose, 64) for purpose in ("selection", "report"))
    assert selection.sha256 != report.sha256
    assert evaluation_set(task, "report", 64).sha256 == report.sha256
    known = {tuple(row) for row in selection.prompts.inputs.reshape(-1, 20).tolist()}
    assert known.isdisjoint(tuple(row) for row in report.prompts.inputs.reshape(-1, 20).tolist())


def test_curriculum_reaches_the_loss_on_the_device() -> None:
    run = small_run(
        task=TASKS["linear_regression"](
            n_dims=3,
            n_points=5,
            curriculum={
                "dims": {"start": 1, "increment": 1, "every": 10},
                "points": {"start": 1, "increment": 1, "every": 10},
            },
        )
    )
    task, outputs = run.task, torch.zeros(4, 10, 1)
    for step, points in ((0, 1), (9, 1), (10, 2), (25, 3), (1000, 5)):
        prompts = task.batch(Draws(0, "train", torch.tensor(step)), 4)
        expected = (prompts.targets[:, :points] ** 2).mean()
        torch.testing.assert_close(training_loss(task, outputs, prompts, torch.tensor(step)), expected)


@settings(max_examples=30)
@given(step=st.integers(0, 499_999))
def test_adamw_warms_up_and_decays_as_appendix_c_says(step: int) -> None:
    factor = float(AdamW().rate_factor(torch.tensor(step), 500_000))
    if step < 50_000:
        assert factor == pytest.approx(0.1 + 0.9 * step / 50_000, rel=1e-4)
    else:
        assert 0.1 * 0.999 <= factor <= 1.001
    if step == 275_000:
        assert factor == pytest.approx(0.55, rel=1e-4)


def test_adam_is_pytorchs_at_a_fixed_rate() -> None:
    run = small_run(steps=5, checkpoints=(5,), clip=1e9)
    state = fresh(run)
    twin = fresh(run).model
    plain = torch.optim.Adam(twin.parameters(), lr=run.learning_rate, foreach=False)
    step = eager_step(state)
    for count in range(5):
        prompts = run.task.batch(Draws(run.seed, "train", torch.tensor(count)), run.batch_size)
        plain.zero_grad()
        training_loss(run.task, twin(prompts.tokens), prompts, torch.tensor(count)).backward()
        plain.step()
        step()
    theirs = dict(twin.named_parameters())
    for name, mine in state.model.named_parameters():
        if not name.endswith("qkv.bias"):  # the keys' bias has no gradient but rounding, which Adam enlarges
            torch.testing.assert_close(mine, theirs[name], rtol=1e-4, atol=1e-6)


def test_the_gradient_is_clipped_by_its_global_norm() -> None:
    run = small_run(clip=1e-3)
    state = fresh(run)
    eager_step(state)()
    clipped = state.parameters.first_moment / 0.1  # after one step Adam's m is (1 − β₁) times the gradient
    assert clipped.norm().item() == pytest.approx(1e-3, rel=1e-2)
    assert float(state.meters.gradient_norm_max) > 1e-2  # the meter holds the norm before clipping


def test_rounding_keeps_significant_digits() -> None:
    assert rounded([1.23456789e-7, 123456.789]) == [1.2346e-07, 123460.0]
    assert packed(np.array([2.0])) == "AAAAQA=="


def trained(task: Task, tmp_path: Path, **fields: Any) -> dict[str, Any]:
    return train(small_run(task=task, evaluation_prompts=12, **fields), tmp_path, TrainingOptions(CPU))


def test_a_result_holds_every_evaluation_of_its_task(tmp_path: Path) -> None:
    tasks = [
        TASKS["many_outlier_regression"](n_dims=3, n_points=30, outlier_probability=0.75),
        TASKS["orthogonal_outlier_regression"](n_dims=3, n_points=102),
        TASKS["chain_of_thought"](n_dims=3, n_points=5, hidden=2),
        TASKS["vector_mqar"](n_dims=3, pairs=4, queries=2),
        TASKS["linear_regression"](n_dims=3, n_points=5, zero_shot="left_out"),
    ]
    for task in tasks:
        result = trained(task, tmp_path, steps=2, checkpoints=(1, 2))
        assert result["facts"]["first_position"] == task.first_position
        assert set(result["prompts"]) == {"selection", "report", *task.other_evaluations}
        assert set(result["not_evaluated"]) == set(task.longer_evaluations())
        for measured in result["checkpoints"]:
            found = measured["evaluations"]
            assert set(found) == {"selection", *task.evaluations()}
            assert set(found["selection"]) == {"overall", "headline"}
            for name, evaluation in task.evaluations().items():
                assert len(found[name]["mean"]) == len(evaluation.positions)
                assert result["facts"]["evaluations"][name]["marks"] == evaluation.marks
        report = result["checkpoints"][-1]["evaluations"]["report"]
        assert result["facts"]["headline"] == task.headline
        if task.headline:
            column = task.evaluations()["report"].marks[task.headline]
            assert report["headline"] == [report["mean"][column], report["standard_error"][column]]
        else:
            assert report["headline"] == report["overall"]
        positions = task.evaluations()["report"].positions
        counted = [m for m, i in zip(report["mean"], positions, strict=True) if i >= task.first_position]
        assert report["overall"][0] == pytest.approx(sum(counted) / len(counted), rel=1e-4)
        record = read_run(json.loads(json.dumps(result)))
        assert float(per_prompt(record).mean()) == pytest.approx(report["headline"][0], rel=1e-4)


def test_a_run_that_never_learns_has_no_convergence_step(tmp_path: Path) -> None:
    task = TASKS["sparse_parity"](n_dims=6, n_points=6)
    result = trained(task, tmp_path, steps=2, checkpoints=(1, 2))
    assert result["convergence_step"] is None
    assert result["facts"]["convergence_accuracy"] == 0.95
    other = trained(TASKS["linear_regression"](n_dims=2, n_points=3), tmp_path, steps=2, checkpoints=(2,))
    assert other["convergence_step"] is None
    assert other["facts"]["convergence_accuracy"] is None


def test_evaluation_is_in_full_precision_and_leaves_the_training_precision_as_it_was() -> None:
    run = small_run(precision="tf32")
    state = fresh(run)
    torch.set_float32_matmul_precision("high")
    try:
        seen = []
        state.model.register_forward_hook(lambda *_: seen.append(torch.get_float32_matmul_precision()))
        prompts = evaluation_set(run.task, "report", 8)
        member_scores(StackPredictor(state), [0], state.model, run.task, prompts, CPU)
        assert seen == ["highest"]
        assert torch.get_float32_matmul_precision() == "high"
        assert state.model.training
    finally:
        torch.set_float32_matmul_precision("highest")


def test_members_are_evaluated_together_on_parts_of_shared_tokens() -> None:
    runs = [small_run(seed=seed) for seed in range(3)]
    state = initial_state(Stack(tuple(runs)), CPU, "reference")
    predictor, passes = StackPredictor(state), []
    state.model.register_forward_hook(lambda *_: passes.append(1))
    tokens = torch.randn(4, 10, runs[0].task.n_inputs)
    predictor.share(tokens)
    alone = [_predict_alone(run, tokens[:, :6]) for run in runs]
    shared = [predictor.predict(member, tokens[:, :6]) for member in range(3)]
    assert len(passes) == 1
    for own, other in zip(alone, shared, strict=True):
        torch.testing.assert_close(own, other)
    copied = predictor.predict(1, tokens[:, :6].clone())
    assert len(passes) == 2
    torch.testing.assert_close(copied, alone[1])


def _predict_alone(run: Run, tokens: torch.Tensor) -> torch.Tensor:
    return StackPredictor(initial_state(Stack.of(run), CPU, "reference")).predict(0, tokens)
