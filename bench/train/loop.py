"""The training loop of all architectures and tasks: from a stack of runs to their results.

The loop replays steps. Between them it reads the meters, evaluates at the runs' checkpoints, saves the state
and reports progress. None of this affects a number: a stack that is killed at any instruction and resumed has
the same results as an uninterrupted one. A member that diverges or stops gets its result at once; the others
continue, and are soon computed without it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bench.kernels.kernel import recorded_backends
from bench.run import Run
from bench.stack import Stack
from bench.train import Interrupted, checkpoint
from bench.train.capture import captured_step
from bench.train.notes import MemberNotes, StackNotes
from bench.train.pieces import piece_of
from bench.train.randomness import seed_random
from bench.train.results import run_result
from bench.train.scoring import StackScoring
from bench.train.state import State, initial_state
from bench.train.step import eager_step
from bench.train.summaries import rounded
from bench.train.torch_settings import configure
from bench.train.weights import state_dict_of

if TYPE_CHECKING:
    from bench.train.parallel import Group

CURVE_POINTS = 100
"""Points of a training curve; a window is the steps from one point to the next."""
LEAST_SHARE = 3 / 4
"""If a smaller share of the computed members still trains, the others are left out of the next steps. Every
smaller stack is captured anew, which takes seconds."""
LEAST_STEPS_LEFT = 2_000
"""With fewer steps to go, a smaller stack is not worth its capture."""
MOST_STEPS_BETWEEN_LOOKS = 500
"""A look is a pause between steps in which the host waits for the device and does its own work."""
SECONDS_BETWEEN_REPORTS = 1.0
"""In an evaluation. A shared file system is slow with the heartbeat of every member for every part."""


@dataclass(frozen=True)
class Progress:
    """Progress of a stack.

    Attributes:
        step: optimisation steps done.
        losses: each member's mean training loss in the last whole window; None before the first one ends.
        steps_per_second: speed of the stack since the last look; before the first one, of earlier processes.
        parts: parts of the prompts that the evaluation after this step has scored so far. 0 before it.
        evaluation_seconds: of each member, its share of the seconds of all evaluations so far.
        evaluation_flops: of each member, the FLOPs of these evaluations (`bench.run.Run.evaluation_flops`).
    """

    step: int
    losses: tuple[float | None, ...]
    steps_per_second: float
    parts: int = 0
    evaluation_seconds: tuple[float, ...] = ()
    evaluation_flops: tuple[int, ...] = ()


@dataclass(frozen=True)
class TrainingOptions:
    """How to train. These options affect results by rounding errors at most.

    Attributes:
        device: device of the training.
        kernels: name of the kernels' backend.
        save_every: seconds between checkpoints.
        report: called with the progress at every look, and about once a second in an evaluation.
        ended: called with a member's number and its result as soon as the member finished or diverged, after
            `report`.
        keep_weights: called before `ended` with the number of a member that finished and its state dict;
            returns the entry `weights` of the result's provenance, or None for no entry.
        asked_to_stop: called at every look but the last, and before each part of the prompts of an
            evaluation; if it returns True, the state is saved and `Interrupted` raised.
        group: the processes that share each batch, led by this process; None to train alone.
        plugins: the version of the plugins that compute the stack; "" without plugins. A checkpoint of
            another version is not resumed.
    """

    device: torch.device
    kernels: str = "sequential"
    save_every: float = 60.0
    report: Callable[[Progress], None] = lambda progress: None
    ended: Callable[[int, dict[str, Any]], None] = lambda member, result: None
    keep_weights: Callable[[int, dict[str, Tensor]], dict[str, str] | None] | None = None
    asked_to_stop: Callable[[], bool] = lambda: False
    group: Group | None = None
    plugins: str = ""

    def step(self, state: State) -> Callable[[], None]:
        """The optimisation step for this device: captured on a GPU, eager on a CPU."""
        make = captured_step if self.device.type == "cuda" else eager_step
        return make(state, self.group)


def train(run: Run, folder: Path, options: TrainingOptions) -> dict[str, Any]:
    """Train a run alone and return its result (see `train_stack`)."""
    return train_stack(Stack.of(run), folder, options)[0]


def train_stack(stack: Stack, folder: Path, options: TrainingOptions) -> list[dict[str, Any]]:
    """Train a stack and return the results of its members (format 1).

    Training resumes from the checkpoint in `folder` if there is one. The results are complete except for
    those parts of `provenance` that do not come from training.

    Raises:
        Interrupted: `options.asked_to_stop` returned True; the state is saved in `folder`.
    """
    try:
        return _train(stack, folder, options)
    finally:
        if options.group is not None:
            options.group.end_run()  # also after an exception: the followers must not wait for more steps


def prepared_state(stack: Stack, options: TrainingOptions) -> State:
    """Configure the process and return the initial state of a stack, equal in all processes of a group."""
    configure(stack.first, options.device)
    # For dropout of whole channels and for random numbers of plugins. Checkpoints store the generators'
    # states.
    seed_random(stack.first.seed)
    return initial_state(stack, options.device, options.kernels)


def follow(run: Run, options: TrainingOptions) -> None:
    """Compute this process's rows of every batch of a run that another process leads.

    Raises:
        LeaderSilent: see `Group.hear`.
    """
    group = options.group
    assert group is not None
    state = prepared_state(Stack.of(run), options)
    group.share(list(state.tensors().values()))
    step = options.step(state)
    while (count := group.hear()) > 0:
        for _ in range(count):
            step()
        int(state.step)  # wait for the device before the next message


def _train(stack: Stack, folder: Path, options: TrainingOptions) -> list[dict[str, Any]]:
    with recorded_backends() as backends:
        state = prepared_state(stack, options)
    saved = checkpoint.restore(folder, state, options.plugins)
    state, notes = saved or (state, StackNotes([MemberNotes() for _ in stack.members]))
    notes.resumptions += saved is not None
    if options.group is not None:
        options.group.share(list(state.tensors().values()))
    notes.pieces.append(piece_of(options, int(state.step), len(stack), backends))
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
    notes: StackNotes

    def __post_init__(self) -> None:
        run = self.stack.first
        self.window = max(1, run.steps // CURVE_POINTS)
        self.scoring = StackScoring(self.stack, self.state, self.notes, self.options.device)
        self.before = self.notes  # as the notes were before the last evaluation
        self.saved_at = time.monotonic()
        self.progress = Progress(int(self.state.step), self._losses(), self._mean_speed())
        self.reported_at = -math.inf
        self.reported = set(range(len(self.stack))).difference(self.notes.computed)

    def advance(self) -> None:
        """Train to the end, or until all members diverged."""
        options = self.options
        self._lower_rates()  # after a resumption
        step = options.step(self.state)
        steps_done = int(self.state.step)
        look = 1
        if not self.notes.evaluation_due:
            self._report_ended(steps_done)  # members that diverged before a resumption
        while self.notes.evaluation_due or self._goes_on(steps_done):
            if not self.notes.evaluation_due:
                count = min(look, self._next_work(steps_done) - steps_done)
                seconds = self._take(step, count)
                steps_done += count
                self._read_meters(steps_done)
                speed = count / max(seconds, 1e-9)
                look = max(1, min(MOST_STEPS_BETWEEN_LOOKS, int(speed)))  # look about once a second
                # Reported before the evaluation, which may be interrupted, and before results are stored: the
                # log of a run then has the last step.
                self._report(Progress(steps_done, self._losses(), speed))
            self._evaluate(steps_done)
            self._report_ended(steps_done)
            if not self._goes_on(steps_done):
                return  # a checkpoint now would stay: the folder may be gone, because the result is stored
            if rest := self._smaller_stack(steps_done):
                del step  # and its memory on the device
                self._compute_only(rest)
                step = options.step(self.state)
            # Save after everything else: a checkpoint then contains all readings and scores so far, and a
            # resumed training neither repeats nor skips them.
            self._save_if_due(self.notes)

    def _report(self, progress: Progress) -> None:
        notes = self.notes
        self.progress, self.reported_at = progress, time.monotonic()
        seconds, flops = tuple(notes.evaluation_seconds), tuple(notes.evaluation_flops)
        self.options.report(replace(progress, evaluation_seconds=seconds, evaluation_flops=flops))

    def _between_parts(self) -> None:
        """Report and save, as at a look, before a part of the prompts is scored."""
        progress = replace(self.progress, parts=len(self.notes.parts))
        if time.monotonic() - self.reported_at >= SECONDS_BETWEEN_REPORTS:
            self._report(progress)
        try:
            self._save_if_due(self.before)
        except Interrupted:
            self._report(progress)
            raise

    def _save_if_due(self, notes: StackNotes) -> None:
        """Save the state with these notes if it is time, or if asked to stop; then raise `Interrupted`."""
        asked_to_stop = self.options.asked_to_stop()
        if asked_to_stop or time.monotonic() - self.saved_at >= self.options.save_every:
            checkpoint.save(self.folder, self.stack, self.state, notes, self.options.plugins)
            self.saved_at = time.monotonic()
        if asked_to_stop:
            raise Interrupted

    def _goes_on(self, step: int) -> bool:
        """Whether steps are left and a member needs them."""
        return step < self.stack.first.steps and len(self.reported) < len(self.stack)

    def _smaller_stack(self, step: int) -> list[int]:
        """The members that the next steps should compute, if these are to be fewer.

        Only the end of a window decides it: all members that have ended are known there. How soon they are
        known within a window depends on the clock.
        """
        computed = self.notes.computed
        rest = [k for k in computed if k not in self.reported]
        is_time = step % self.window == 0 and self.stack.first.steps - step >= LEAST_STEPS_LEFT
        return rest if is_time and len(rest) < LEAST_SHARE * len(computed) else []

    def _compute_only(self, members: list[int]) -> None:
        """Leave the other members out of the next steps."""
        self.state = self.state.of_members(self.notes.places(members))
        self.scoring.state, self.notes.computed = self.state, members
        self._lower_rates()

    def _take(self, step: Callable[[], None], count: int) -> float:
        """Take `count` steps and mark the members that diverged. Return the seconds that the steps took."""
        began = time.monotonic()
        if self.options.group is not None:
            self.options.group.tell(count)
        for _ in range(count):
            step()
        # The host waits for the device in this line, so the line ends the timing.
        first_bad_steps = self.state.meters.first_bad_step.tolist()
        seconds = time.monotonic() - began
        self.notes.train_seconds += seconds
        for k, first_bad in zip(self.notes.computed, first_bad_steps, strict=True):
            if first_bad >= 0 and k not in self.reported:
                self.notes.members[k].diverge(f"the loss or its gradient is not finite at step {first_bad}")
        return seconds

    def _evaluate(self, step: int) -> None:
        """Evaluate the members whose checkpoint or end this is, and check convergence.

        An evaluation may take longer than its process may run. It is therefore saved between parts of the
        prompts, as the notes before the evaluation and the scores of the parts so far. A resumed training
        evaluates the same members, with these scores.
        """
        self.before = self.notes.before_evaluation()
        self.notes.evaluation_due = False
        self.scoring.before_part = self._between_parts
        try:
            if members := self._members_to_evaluate(step):
                self.scoring.evaluate(step, members)
                self._lower_rates()
            self.scoring.check_convergence(step)  # after the evaluation, whose scores it reads
        finally:
            # A circle of references would keep the memory on the device after the training.
            self.scoring.before_part = None
        self.notes.parts.clear()

    def _next_work(self, step: int) -> int:
        """The next step at which the host has work to do.

        It is a reading of the meters, a checkpoint, the end of a member, or a check of convergence.
        """
        run = self.stack.first
        steps = [step - step % self.window + self.window]
        steps += [later for later in (*run.checkpoints, *self.notes.ends(self.stack)) if later > step]
        if run.stop is not None:
            steps.append(step - step % run.stop.every + run.stop.every)
        return min(steps)

    def _members_to_evaluate(self, step: int) -> list[int]:
        """Numbers of the members to evaluate now: all at a checkpoint, else those that end."""
        active, ends = self.notes.active(self.stack, step), self.notes.ends(self.stack)
        return [k for k in active if step in self.stack.first.checkpoints or step == ends[k]]

    def result(self, k: int) -> dict[str, Any]:
        """The result of member `k`, which finished or diverged."""
        run, notes = self.stack.members[k], self.notes.members[k]
        return run_result(run, notes, self.scoring.prompts(k), self._provenance(k))

    def _provenance(self, k: int) -> dict[str, Any]:
        """The part of member `k`'s provenance that comes from training."""
        notes, options = self.notes, self.options
        return {
            "train_seconds": round(notes.train_seconds, 3),
            "steps_per_second": rounded(self._mean_speed(), 4),
            "evaluation_seconds": round(notes.evaluation_seconds[k], 3),
            "evaluation_flops": notes.evaluation_flops[k],
            "resumptions": notes.resumptions,
            "pieces": notes.pieces,
            "scan": options.kernels,  # the format's name for the backend of all kernels
            "captured": options.device.type == "cuda",
            "processes": options.group.size if options.group else 1,
            "stack": {"id": self.stack.id, "members": len(self.stack), "place": k},
        }

    def _report_ended(self, step: int) -> None:
        """Pass the results of members that ended since the last look to `options.ended`."""
        for k, member in enumerate(self.notes.members):
            end = member.end(self.stack.members[k])
            if k in self.reported or (member.diverged is None and step < end):
                continue
            self.reported.add(k)
            result = self.result(k)
            # Later steps may still compute a member that has ended, so its parameters are stored now.
            if member.diverged is None and step == end and (weights := self._keep_weights(k, step)):
                result["provenance"]["weights"] = weights
            self.options.ended(k, result)

    def _keep_weights(self, k: int, step: int) -> dict[str, str] | None:
        """Keep the weights of member `k`, which finished at this step; return their entry in the result."""
        if self.options.keep_weights is None:
            return None
        if self.notes.members[k].checkpoints[-1].get("tested_step", step) != step:
            return None  # the tested model is that of an earlier checkpoint
        (place,) = self.notes.places([k])
        parameters = self.state.parameters.of_member(place)
        return self.options.keep_weights(k, state_dict_of(self.state.model, parameters))

    def _mean_speed(self) -> float:
        """Steps per second of all processes so far; 0 before the first step."""
        return int(self.state.step) / max(self.notes.train_seconds, 1e-9)

    def _losses(self) -> tuple[float | None, ...]:
        curves = (member.curve["loss"] for member in self.notes.members)
        return tuple(curve[-1] if curve else None for curve in curves)

    def _read_meters(self, step: int) -> None:
        """At the end of a window: add it to the curves of the active members."""
        if step % self.window and step != self.stack.first.steps:
            return
        # The last window may be shorter than the others.
        steps = step % self.window or self.window
        meters, point_losses = self.state.meters, self.state.point_losses
        losses, norms = meters.loss_sum.tolist(), meters.gradient_norm_max.tolist()
        sums, counts = ([], []) if point_losses is None else point_losses.tolist()
        active = self.notes.active(self.stack, step)
        for k, place in zip(active, self.notes.places(active), strict=True):
            member = self.notes.members[k]
            member.curve["step"].append(step)
            member.curve["loss"].append(rounded(losses[place] / steps))
            member.curve["gradient_norm"].append(rounded(norms[place], 4))
            if point_losses is not None:
                member.training_loss = rounded(sums[place] / max(counts[place], 1.0))
        meters.reset()
        if point_losses is not None:
            point_losses.zero_()

    def _lower_rates(self) -> None:
        """With `decay: plateau`: lower the rate of a member once for each checkpoint without a new best."""
        factor = self.stack.first.optimizer.plateau_factor
        if factor is None:
            return
        factors = []
        for member in (self.notes.members[k] for k in self.notes.computed):
            losses = [checkpoint["validation_loss"] for checkpoint in member.checkpoints]
            plateaus = sum(loss >= min(losses[:index], default=math.inf) for index, loss in enumerate(losses))
            factors.append(factor**plateaus)
        self.state.optimizer.scale_rates(factors)
