"""The training loop of all architectures and tasks: from a stack of runs to their results.

The loop replays steps. Between them it reads the meters, evaluates at the runs' checkpoints, saves the state
and reports progress. None of this affects a number: a stack that is killed at any instruction and resumed has
the same results as an uninterrupted one. A member that diverges gets its result at once; the others continue.
"""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bench import flops
from bench.environment import device_name
from bench.kernels import product
from bench.results import FORMAT, run_facts
from bench.results.evaluations import converged
from bench.results.record import MAIN, SELECTION
from bench.run import Run
from bench.stack import Stack
from bench.train import checkpoint
from bench.train.evaluate import (
    LongerPrompts,
    ModelScores,
    evaluation_sets,
    headline,
    longer_scores,
    member_scores,
    packed,
    rounded,
    summary,
)
from bench.train.randomness import seed_random
from bench.train.step import StackPredictor, State, captured_step, eager_step, initial_state
from bench.train.weights import state_of

if TYPE_CHECKING:
    from bench.train.parallel import Group

CURVE_POINTS = 100
"""Points of a training curve; a window is the steps from one point to the next."""
MOST_STEPS_BETWEEN_LOOKS = 500
"""A look is a pause between steps in which the host waits for the device and does its own work."""


class Interrupted(Exception):
    """Training stopped on request, after saving its state."""


@dataclass(frozen=True)
class Progress:
    """Progress of a stack.

    Attributes:
        step: optimisation steps done.
        losses: each member's mean training loss in the last whole window; None before the first one ends.
        steps_per_second: speed of the stack since the last look.
    """

    step: int
    losses: tuple[float | None, ...]
    steps_per_second: float


@dataclass(frozen=True)
class TrainingOptions:
    """How to train. These options affect results by rounding errors at most.

    Attributes:
        device: device of the training.
        scan: name of the kernels' backend.
        save_every: seconds between checkpoints.
        report: called with the progress at every look.
        ended: called with a member's number and its result as soon as the member finished or diverged.
        keep_weights: called before `ended` with the number of a member that finished and its state dict;
            returns the entry `weights` of the result's provenance, or None for no entry.
        stop: called at every look; if it returns True, the state is saved and `Interrupted` raised.
        group: the processes that share each batch, led by this process; None to train alone.
    """

    device: torch.device
    scan: str = "sequential"
    save_every: float = 60.0
    report: Callable[[Progress], None] = lambda progress: None
    ended: Callable[[int, dict[str, Any]], None] = lambda member, result: None
    keep_weights: Callable[[int, dict[str, Tensor]], dict[str, str] | None] | None = None
    stop: Callable[[], bool] = lambda: False
    group: Group | None = None

    def step(self, state: State) -> Callable[[], None]:
        """The optimisation step for this device: captured on a GPU, eager on a CPU."""
        make = captured_step if self.device.type == "cuda" else eager_step
        return make(state, self.group)


@dataclass
class _MemberNotes:
    """The host's record of a member."""

    curve: dict[str, list[float]] = field(
        default_factory=lambda: {"step": [], "loss": [], "gradient_norm": []}
    )
    checkpoints: list[dict[str, Any]] = field(default_factory=list)
    per_prompt: str | None = None
    diverged: str | None = None
    """Why the member diverged; None if it did not."""
    seconds: float = 0.0
    """Of training, until it ended."""
    longer_prompts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Numbers and digests of the prompts of evaluations on longer prompts."""
    not_evaluated: dict[str, str] = field(default_factory=dict)
    """Reasons why evaluations on longer prompts are left out."""
    training_loss: float | None = None
    """Mean loss of all points in the last whole window, of tasks with a `training_evaluation`."""
    converged: int | None = None
    """With a stop rule: step of the check at which the model had converged."""


@dataclass
class _Notes:
    """The host's record of a stack, saved with every checkpoint as plain values."""

    members: list[_MemberNotes]
    train_seconds: float = 0.0
    resumptions: int = 0
    pieces: list[dict[str, Any]] = field(default_factory=list)
    """For each process that trained the stack: its device, its host, and the step at which it began."""

    def plain(self) -> dict[str, Any]:
        return {**vars(self), "members": [vars(member) for member in self.members]}

    @classmethod
    def of(cls, saved: dict[str, Any]) -> _Notes:
        return cls(**{**saved, "members": [_MemberNotes(**member) for member in saved["members"]]})


def train(run: Run, folder: Path, options: TrainingOptions) -> dict[str, Any]:
    """Train a run alone and return its result (see `train_stack`)."""
    return train_stack(Stack.of(run), folder, options)[0]


def train_stack(stack: Stack, folder: Path, options: TrainingOptions) -> list[dict[str, Any]]:
    """Train a stack and return the results of its members (format 1).

    Training resumes from the checkpoint in `folder` if there is one. The results are complete except for
    those parts of `provenance` that do not come from training.

    Raises:
        Interrupted: `options.stop` returned True; the state is saved in `folder`.
    """
    try:
        return _train(stack, folder, options)
    finally:
        if options.group is not None:
            options.group.tell(0)  # also after an exception: the followers must not wait for more steps


def prepare(stack: Stack, options: TrainingOptions) -> State:
    """Configure the process and return the initial state of a stack, equal in all processes of a group."""
    configure(stack.first, options.device)
    seed_random(stack.first.seed)  # for dropout and for draws of a user's model; a checkpoint has the states
    return initial_state(stack, options.device, options.scan)


def _train(stack: Stack, folder: Path, options: TrainingOptions) -> list[dict[str, Any]]:
    state = prepare(stack, options)
    saved = checkpoint.restore(folder, state)
    if options.group is not None:
        options.group.share(list(state.tensors().values()))
    notes = _Notes.of(saved) if saved else _Notes([_MemberNotes() for _ in stack.members])
    notes.resumptions += saved is not None
    notes.pieces.append(
        {
            "device": device_name(str(options.device)),
            "host": socket.gethostname(),
            "from_step": int(state.step),
        }
    )
    training = _Training(stack, folder, options, state, notes)
    training.advance()
    return [training.result(k) for k in range(len(stack))]


@dataclass
class _Training:
    """A stack in training."""

    stack: Stack
    folder: Path
    options: TrainingOptions
    state: State
    notes: _Notes

    def __post_init__(self) -> None:
        run = self.stack.first
        self.window = max(1, run.steps // CURVE_POINTS)
        self.evaluations = {
            run.task_id: evaluation_sets(run.task, run.evaluation_prompts) for run in self.stack.members
        }
        self.reported: set[int] = set()

    def advance(self) -> None:
        """Train to the end, or until all members diverged."""
        run, options, state, notes = self.stack.first, self.options, self.state, self.notes
        self._lower_rates()  # after a resumption
        step = options.step(state)
        done = int(state.step)
        look, saved_at = 1, time.monotonic()
        self._report_ended(done)  # members that diverged before a resumption
        while done < run.steps and len(self.reported) < len(self.stack):
            # A block of steps ends where the host has work to do: a meter reading, a checkpoint, the end of a
            # member, a check of convergence.
            stops_at = [
                done - done % self.window + self.window,
                *(step for step in (*run.checkpoints, *self._ends()) if step > done),
            ]
            if run.stop is not None:
                stops_at.append(done - done % run.stop.every + run.stop.every)
            count = min(look, min(stops_at) - done)
            began = time.monotonic()
            if options.group is not None:
                options.group.tell(count)
            for _ in range(count):
                step()
            bad = state.meters.first_bad_step.tolist()  # the host waits for the device: this ends the timing
            seconds = time.monotonic() - began
            done += count
            notes.train_seconds += seconds
            for k, first_bad in enumerate(bad):
                if first_bad >= 0 and k not in self.reported:
                    self._diverged(k, f"the loss or its gradient is not finite at step {first_bad}")
            if done % self.window == 0 or done == run.steps:
                self._read_meters(done)
            if scored := [k for k in self._training(done) if done in run.checkpoints or done == self._end(k)]:
                self._evaluate(done, scored)
                self._lower_rates()
            self._check_convergence(done)  # after the evaluation, whose scores it reads
            self._report_ended(done)
            speed = count / max(seconds, 1e-9)
            look = max(1, min(MOST_STEPS_BETWEEN_LOOKS, int(speed)))  # look about once a second
            options.report(Progress(done, self._losses(), speed))
            # Save after everything else: a checkpoint then contains the readings and scores up to `done`, and
            # a resumed training neither repeats nor skips them.
            stop = options.stop()
            if stop or (done < run.steps and time.monotonic() - saved_at >= options.save_every):
                checkpoint.save(self.folder, state, notes.plain())
                saved_at = time.monotonic()
            if stop and done < run.steps and len(self.reported) < len(self.stack):
                raise Interrupted

    def result(self, k: int) -> dict[str, Any]:
        """The result of member `k`, which finished or diverged."""
        run, notes = self.stack.members[k], self.notes.members[k]
        done = int(self.state.step)
        return {
            "format": FORMAT,
            "kind": "run",
            "id": run.id,
            "outcome": "finished" if notes.diverged is None else "diverged",
            "reason": notes.diverged,
            "run": run.identity(),
            "facts": run_facts(run),
            "checkpoints": notes.checkpoints,
            **({"not_evaluated": notes.not_evaluated} if notes.not_evaluated else {}),
            "convergence_step": notes.converged if run.stop else _convergence_step(run, notes.checkpoints),
            **(
                {"stop": {"step": self._end(k), "converged_step": notes.converged}}
                if run.stop and notes.diverged is None
                else {}
            ),
            "per_prompt": {"report": notes.per_prompt},
            "prompts": {
                purpose: {"count": prompts.count, "sha256": prompts.sha256}
                for purpose, prompts in self.evaluations[run.task_id].items()
            }
            | notes.longer_prompts,
            "curve": notes.curve,
            "provenance": {
                "train_seconds": round(self.notes.train_seconds, 3),
                "steps_per_second": rounded(done / max(self.notes.train_seconds, 1e-9), 4),
                "resumptions": self.notes.resumptions,
                **({"pieces": self.notes.pieces} if len(self.notes.pieces) > 1 else {}),
                "scan": self.options.scan,
                "captured": self.options.device.type == "cuda",
                "processes": self.options.group.size if self.options.group else 1,
                "stack": {"id": self.stack.id, "members": len(self.stack), "place": k},
            },
        }

    def _end(self, k: int) -> int:
        """The step at which member `k` ends, as far as is known now: a stop rule may end it earlier."""
        run, converged = self.stack.members[k], self.notes.members[k].converged
        if run.stop is None or converged is None:
            return run.steps
        return min(run.steps, converged + run.stop.after_convergence)

    def _ends(self) -> set[int]:
        return {self._end(k) for k in range(len(self.stack))}

    def _training(self, done: int) -> list[int]:
        """Numbers of the members that trained until step `done`: they have neither diverged nor stopped."""
        return [
            k
            for k, member in enumerate(self.notes.members)
            if member.diverged is None and done <= self._end(k)
        ]

    def _diverged(self, k: int, reason: str) -> None:
        if self.notes.members[k].diverged is None:
            self.notes.members[k].diverged = reason

    def _report_ended(self, done: int) -> None:
        """Pass the results of members that ended since the last look to `options.ended`."""
        for k, member in enumerate(self.notes.members):
            if k not in self.reported and (member.diverged is not None or done >= self._end(k)):
                self.reported.add(k)
                result = self.result(k)
                # A member that has stopped is computed further with its stack: only at its end the stack
                # has its final parameters.
                final = member.diverged is None and done == self._end(k)
                # Weights are those of the last step. They are not kept if another model is tested.
                final = final and member.checkpoints[-1].get("tested_step", done) == done
                if self.options.keep_weights is not None and final:
                    tensors = state_of(self.state.model, self.state.parameters.of_member(k))
                    if weights := self.options.keep_weights(k, tensors):
                        result["provenance"]["weights"] = weights
                self.options.ended(k, result)

    def _losses(self) -> tuple[float | None, ...]:
        curves = (member.curve["loss"] for member in self.notes.members)
        return tuple(curve[-1] if curve else None for curve in curves)

    def _read_meters(self, done: int) -> None:
        # The last window may be shorter than the others.
        steps = done % self.window or self.window
        losses = self.state.meters.loss_sum.tolist()
        norms = self.state.meters.gradient_norm_max.tolist()
        for k in self._training(done):
            curve = self.notes.members[k].curve
            curve["step"].append(done)
            curve["loss"].append(rounded(losses[k] / steps))
            curve["gradient_norm"].append(rounded(norms[k], 4))
        self.state.meters.reset()
        if self.state.point_losses is not None:
            sums, counts = self.state.point_losses.tolist()
            for k in self._training(done):
                self.notes.members[k].training_loss = rounded(sums[k] / max(counts[k], 1.0))
            self.state.point_losses.zero_()

    def _by_task(self, members: Iterable[int]) -> dict[str, list[int]]:
        """Members by the id of their task: those of one task are evaluated together."""
        by_task: dict[str, list[int]] = {}
        for k in members:
            by_task.setdefault(self.stack.members[k].task_id, []).append(k)
        return by_task

    def _lower_rates(self) -> None:
        """With `decay: plateau`: lower the rate of a member once for each checkpoint without a new best."""
        factor = self.stack.first.optimizer.plateau_factor
        if factor is None:
            return
        factors = []
        for member in self.notes.members:
            losses = [checkpoint["validation_loss"] for checkpoint in member.checkpoints]
            plateaus = sum(loss >= min(losses[:index], default=math.inf) for index, loss in enumerate(losses))
            factors.append(factor**plateaus)
        self.state.optimizer.scale_rates(factors)

    def _check_convergence(self, done: int) -> None:
        """With a stop rule: record the members that have converged, on the validation prompts."""
        rule, steps = self.stack.first.stop, self.stack.first.steps
        if rule is None or (done % rule.every and done != steps):
            return
        unconverged = [k for k in self._training(done) if self.notes.members[k].converged is None]
        for task_id, members in self._by_task(unconverged).items():
            threshold = self.stack.members[members[0]].task.convergence_accuracy
            for k, accuracy in zip(members, self._validation_accuracies(done, task_id, members), strict=True):
                if converged(accuracy, threshold):
                    self.notes.members[k].converged = done

    def _validation_accuracies(self, done: int, task_id: str, members: list[int]) -> list[float]:
        """Mean accuracies on the validation prompts of one task: from the checkpoint if there is one now."""
        checkpoints = [self.notes.members[k].checkpoints for k in members]
        if all(own and own[-1]["step"] == done for own in checkpoints):
            return [own[-1]["evaluations"][SELECTION]["overall"][0] for own in checkpoints]
        task, prompts = self.stack.members[members[0]].task, self.evaluations[task_id][SELECTION]
        values = member_scores(
            StackPredictor(self.state), members, self.state.model, task, prompts, self.options.device
        )
        return [
            summary(scores[MAIN], headline(task, MAIN, scores[MAIN]), positions=False)["overall"][0]
            for scores in values
        ]

    def _evaluate(self, done: int, scored: Iterable[int]) -> None:
        """Score members on all sets of their tasks."""
        for task_id, members in self._by_task(scored).items():
            task = self.stack.members[members[0]].task
            measured: dict[int, dict[str, dict[str, ModelScores]]] = {k: {} for k in members}
            for purpose, prompts in self.evaluations[task_id].items():
                predictor = StackPredictor(self.state)
                values = member_scores(
                    predictor, members, self.state.model, task, prompts, self.options.device
                )
                for k, scores in zip(members, values, strict=True):
                    measured[k][purpose] = scores
            for k in members:
                self._keep_scores(k, done, measured[k])
            at_end = [k for k in members if done == self._end(k) and self.notes.members[k].diverged is None]
            if at_end:
                self._evaluate_longer(at_end)

    def _evaluate_longer(self, members: Sequence[int]) -> None:
        """Score members that end now, of one task, on longer prompts than those of training.

        Nothing that happens there makes the training fail: the result states why an evaluation is left out.
        """
        run = self.stack.members[members[0]]
        for name, longer in run.task.longer_evaluations().items():
            if fault := run.architecture.length_fault:
                self._leave_out(members, name, fault)
                continue
            prompts = LongerPrompts(run.task, name, longer, run.evaluation_prompts)
            predictor, model = StackPredictor(self.state), self.state.model
            try:
                values = longer_scores(predictor, members, model, prompts, self.options.device)
            except Exception as error:  # a user's block may raise anything where prompts are too long
                self._leave_out(members, name, f"{type(error).__name__}: {error}")
                continue
            for k, scores in zip(members, values, strict=True):
                notes = self.notes.members[k]
                if not scores.finite:
                    self._leave_out([k], name, "a score is not finite")
                    continue
                notes.checkpoints[-1]["evaluations"][name] = summary(scores, scores.overall, positions=True)
                notes.longer_prompts[name] = {"count": prompts.count, "sha256": prompts.sha256}

    def _leave_out(self, members: Iterable[int], name: str, reason: str) -> None:
        for k in members:
            self.notes.members[k].not_evaluated[name] = reason

    def _keep_scores(self, k: int, done: int, measured: dict[str, dict[str, ModelScores]]) -> None:
        """Record a member's scores by purpose and evaluation. A non-finite score marks it as diverged."""
        run, notes = self.stack.members[k], self.notes.members[k]
        task, size, summaries = run.task, run.size, {}
        if not all(scores.finite for by_name in measured.values() for scores in by_name.values()):
            self._diverged(k, f"a score on the evaluation prompts is not finite at step {done}")
            return
        for purpose, by_name in measured.items():
            for name, scores in by_name.items():
                main = name == self.evaluations[run.task_id][purpose].evaluation
                # A task may measure several evaluations on one set. Selection needs the main one only.
                if purpose == SELECTION and not main:
                    continue
                per_prompt = headline(task, name, scores)
                summaries[purpose if main else name] = summary(
                    scores, per_prompt, positions=purpose != SELECTION
                )
                if purpose == "report" and main:
                    scores_of_prompts = packed(per_prompt)
        if task.training_evaluation is not None and (loss := notes.training_loss) is not None:
            # The prompts of training are not evaluated one by one, so there is no error over prompts.
            pair = [loss, 0.0]
            summaries[task.training_evaluation] = {
                "mean": [loss], "standard_error": [0.0], "overall": pair, "headline": pair
            }  # fmt: skip
        checkpoint: dict[str, Any] = {
            "step": done,
            "training_flops": run.training_flops(done),
            "training_flops_full_length": flops.training_flops_full_length(
                run.architecture, size.layers, size.width, task, run.batch_size, done
            ),
            "evaluations": summaries,
        }
        tested = checkpoint
        selects = run.tested_checkpoint == "best_validation"
        if task.validation is not None and (selects or run.optimizer.plateau_factor is not None):
            purpose, name = task.validation
            checkpoint["validation_loss"] = rounded(measured[purpose][name].overall.mean())
        if selects:
            # The first of equal losses.
            tested = min([*notes.checkpoints, checkpoint], key=lambda entry: entry["validation_loss"])
            checkpoint |= {"evaluations": tested["evaluations"], "tested_step": tested["step"]}
        notes.checkpoints.append(checkpoint)
        if tested is checkpoint and (done == self._end(k) or selects):
            notes.per_prompt = scores_of_prompts


def _convergence_step(run: Run, checkpoints: list[dict[str, Any]]) -> int | None:
    """Step of the first checkpoint whose mean accuracy reaches the task's threshold; None without one."""
    threshold = run.task.convergence_accuracy
    accuracies = ((c["step"], c["evaluations"]["report"]["overall"][0]) for c in checkpoints)
    return next((step for step, accuracy in accuracies if converged(accuracy, threshold)), None)


def configure(run: Run, device: torch.device) -> None:
    """Set precision and determinism for the whole process."""
    product.use(run.precision)
    torch.backends.cudnn.allow_tf32 = False
    # `torch.use_deterministic_algorithms` does the same but imports the compiler, which takes seconds.
    torch.set_deterministic_debug_mode("error" if device.type == "cuda" else "default")
    # In deterministic mode PyTorch fills every new tensor by default. No kernel reads memory that was not
    # written, so the fills would only add launches to every step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
