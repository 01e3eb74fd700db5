"""One training loop for every architecture and task: run → result.

The loop replays steps and, between them, reads the meters, evaluates at the run's checkpoints,
saves its state and says where it is. None of that changes a number: a run killed at any instruction
and resumed ends with the same result as one that was not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bench import flops
from bench.results import FORMAT, run_facts
from bench.run import Run
from bench.train import checkpoint
from bench.train.evaluate import evaluation_sets, headline, packed, rounded, scores, summary
from bench.train.step import State, captured_step, eager_step, initial_state

if TYPE_CHECKING:
    from bench.train.parallel import Group

CURVE_POINTS = 100
MOST_STEPS_BETWEEN_LOOKS = 500


class Interrupted(Exception):
    """Training was asked to stop; its state is saved."""


@dataclass(frozen=True)
class Progress:
    """Where a run is: steps done, the mean training loss of the latest window, steps per second now."""

    step: int
    loss: float | None
    steps_per_second: float


@dataclass(frozen=True)
class Options:
    """How to train; nothing here changes a number beyond rounding.

    Attributes:
        device: where.
        scan: selective scan backend, by name.
        save_every: seconds between checkpoints.
        report: called at every look.
        stop: asked at every look; True saves and raises `Interrupted`.
        group: the processes that share each batch, of which this one leads; None trains alone.
    """

    device: torch.device
    scan: str = "sequential"
    save_every: float = 60.0
    report: Callable[[Progress], None] = lambda progress: None
    stop: Callable[[], bool] = lambda: False
    group: Group | None = None

    def step(self, run: Run, state: State) -> Callable[[], None]:
        """The optimisation step as it is computed on this device."""
        make = captured_step if self.device.type == "cuda" else eager_step
        return make(run, state, self.group)


@dataclass
class _Notes:
    """What the host remembers: saved with every checkpoint."""

    curve: dict[str, list[float]] = field(
        default_factory=lambda: {"step": [], "loss": [], "gradient_norm": []}
    )
    checkpoints: list[dict[str, Any]] = field(default_factory=list)
    per_prompt: str | None = None
    train_seconds: float = 0.0
    resumptions: int = 0


def train(run: Run, folder: Path, options: Options) -> dict[str, Any]:
    """Train one run, from its checkpoint in `folder` if there is one, to its result (format 1).

    The result lacks only `provenance` beyond the speed measured here.

    Raises:
        Interrupted: when `options.stop` said so; the state is saved in `folder`.
    """
    try:
        return _train(run, folder, options)
    finally:
        if options.group is not None:
            options.group.tell(0)  # however it ended: the others train no further


def prepare(run: Run, options: Options) -> State:
    """Settings of the process and the run's first state; the same in every process of a group."""
    configure(run, options.device)
    torch.manual_seed(run.seed)  # dropout; restored with the checkpoint
    return initial_state(run, options.device, options.scan)


def _train(run: Run, folder: Path, options: Options) -> dict[str, Any]:
    state = prepare(run, options)
    saved = checkpoint.restore(folder, run.id, state)
    if options.group is not None:
        options.group.share(state.tensors())
    notes = _Notes(**saved) if saved else _Notes()
    notes.resumptions += saved is not None
    evaluations = evaluation_sets(run.task, run.evaluation_prompts)
    step = options.step(run, state)
    outcome, reason = _advance(run, folder, options, state, notes, step, evaluations)
    return {
        "format": FORMAT,
        "kind": "run",
        "id": run.id,
        "outcome": outcome,
        "reason": reason,
        "run": run.identity(),
        "facts": run_facts(run),
        "checkpoints": notes.checkpoints,
        "convergence_step": _convergence_step(run, notes.checkpoints),
        "per_prompt": {"report": notes.per_prompt},
        "prompts": {
            purpose: {"count": one.count, "sha256": one.sha256} for purpose, one in evaluations.items()
        },
        "curve": notes.curve,
        "provenance": {
            "train_seconds": round(notes.train_seconds, 3),
            "steps_per_second": rounded(int(state.step) / max(notes.train_seconds, 1e-9), 4),
            "resumptions": notes.resumptions,
            "scan": options.scan,
            "captured": options.device.type == "cuda",
            "processes": options.group.size if options.group else 1,
        },
    }


def _advance(
    run: Run,
    folder: Path,
    options: Options,
    state: State,
    notes: _Notes,
    step: Callable[[], None],
    evaluations: dict[str, Any],
) -> tuple[str, str | None]:
    """Train to the end or to divergence; returns the outcome and its reason."""
    done = int(state.step)
    window = max(1, run.steps // CURVE_POINTS)
    look, saved_at = 1, time.monotonic()
    while done < run.steps:
        stops_at = [done - done % window + window, run.steps, *(c for c in run.checkpoints if c > done)]
        count = min(look, min(stops_at) - done)
        began = time.monotonic()
        if options.group is not None:
            options.group.tell(count)
        for _ in range(count):
            step()
        bad = int(state.meters.first_bad_step)  # the host waits for the device here, and only here
        seconds = time.monotonic() - began
        done += count
        notes.train_seconds += seconds
        if bad >= 0:
            return "diverged", f"the loss or its gradient is not finite at step {bad}"
        if done % window == 0 or done == run.steps:
            _read_meters(state, notes, done, window)
        if done in run.checkpoints and not _evaluate(run, options.device, state, notes, done, evaluations):
            return "diverged", f"a score on the evaluation prompts is not finite at step {done}"
        speed = count / max(seconds, 1e-9)
        look = max(1, min(MOST_STEPS_BETWEEN_LOOKS, int(speed)))  # look about once a second
        options.report(Progress(done, notes.curve["loss"][-1] if notes.curve["loss"] else None, speed))
        stop = options.stop()
        if stop or (done < run.steps and time.monotonic() - saved_at >= options.save_every):
            checkpoint.save(folder, run.id, state, vars(notes))
            saved_at = time.monotonic()
        if stop and done < run.steps:
            raise Interrupted
    return "finished", None


def _read_meters(state: State, notes: _Notes, done: int, window: int) -> None:
    steps = done % window or window
    notes.curve["step"].append(done)
    notes.curve["loss"].append(rounded(float(state.meters.loss_sum) / steps))
    notes.curve["gradient_norm"].append(rounded(float(state.meters.gradient_norm_max), 4))
    state.meters.reset()


def _evaluate(
    run: Run, device: torch.device, state: State, notes: _Notes, done: int, evaluations: dict[str, Any]
) -> bool:
    """Score the model on every set and keep the numbers; False (and nothing kept) when one is not finite."""
    task, size, summaries = run.task, run.size, {}
    for purpose, one in evaluations.items():
        for name, values in scores(state.model, task, one, device).items():
            if not np.isfinite(values).all():
                return False
            main = name == one.evaluation
            if purpose == "selection" and not main:
                continue
            per_prompt = headline(task, name, values)
            summaries[purpose if main else name] = summary(
                values, per_prompt, positions=purpose != "selection"
            )
            if purpose == "report" and main and done == run.steps:
                notes.per_prompt = packed(per_prompt)
    notes.checkpoints.append(
        {
            "step": done,
            "training_flops": run.training_flops(done),
            "training_flops_full_length": flops.training_flops_full_length(
                run.architecture, size.layers, size.width, task, run.batch_size, done
            ),
            "evaluations": summaries,
        }
    )
    return True


def _convergence_step(run: Run, checkpoints: list[dict[str, Any]]) -> int | None:
    """Step of the first checkpoint whose mean accuracy counts as learned; None where there is none."""
    threshold = run.task.convergence_accuracy
    if threshold is None:
        return None
    reached = (one["step"] for one in checkpoints if one["evaluations"]["report"]["overall"][0] >= threshold)
    return next(reached, None)


def configure(run: Run, device: torch.device) -> None:
    """Precision and determinism of everything that follows, for the whole process."""
    torch.set_float32_matmul_precision("high" if run.precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = False
    torch.use_deterministic_algorithms(device.type == "cuda")
    # Every new tensor would be filled first; nothing here reads what it did not write.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
