"""Made-up results for a whole suite, to try its claims: a claim that passes in such a world proves little.

A world gives each run an unlearned share x at each checkpoint, from 0 (everything learned) to 1 (nothing).
The error at position i, normalised so that the trivial predictor has 1, is

    floor(i) + x · (1 − floor(i)),

where the floor falls from 1 at the first position to 0. Accuracies stand likewise between chance and 1. All
runs of a task are scored on the same made-up prompts. Hard prompts are hard for every model, and each run
adds a little noise. The same suite always gives the same results. Each is marked as synthetic.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.check.comparisons import comparisons
from bench.check.quantity import runs_of
from bench.check.reversal import ReversedShares
from bench.files import as_read
from bench.results import FORMAT, BaselinesRecord, Pool, RunRecord, run_facts, task_facts
from bench.results.evaluations import first_converged
from bench.results.record import MAIN, SELECTION
from bench.run import Run
from bench.uncertainty import Floats

if TYPE_CHECKING:
    from bench.check.claims import Claims
    from bench.suite import Suite
    from bench.tasks.task import Evaluation

Unlearned = Callable[[Run, int, str], float]
"""The share that a run has not learned, by run, training step and evaluation."""

NOISE = 0.003
"""Largest relative deviation of a mean error through the run: its seed, rate and checkpoint."""
PROMPT_SPREAD = 0.3
"""Standard deviation over prompts, relative to the mean error, that all runs of a task share."""
RUN_SPREAD = 0.1
"""The same, of a run alone. With 1,280 prompts the 90 % interval of the ratio of two errors is ± 0.65 %, so
that the difference of two runs by `NOISE` is within it."""


@dataclass(frozen=True)
class World:
    """Made-up results of a suite.

    Attributes:
        name: the option that asks for it.
        description: what holds in it, in words.
        suite: the suite.
        unlearned: what each run has not learned.
        reversed_claims: ids of the claims whose comparisons are reversed; none in the null world.
        runs: the runs that have results; None for all of the suite.
    """

    name: str
    description: str
    suite: Suite
    unlearned: Unlearned
    reversed_claims: tuple[str, ...] = ()
    runs: tuple[Run, ...] | None = None

    def of(self, claims: Claims) -> World:
        """The same world, with results of those runs alone that claims read: a suite may have many others."""
        operands = (
            operand
            for claim in claims.claims.values()
            for quantity in claim.quantities
            for operand in quantity.operands
        )
        runs = dict.fromkeys(run for operand in operands for run in runs_of(operand, self.suite))
        return replace(self, runs=tuple(runs))

    @cached_property
    def pool(self) -> Pool:
        """A result for every run, and baselines for every task."""
        runs = self.suite.runs if self.runs is None else self.runs
        tasks = {run.task_id: run for run in runs}
        return Pool(
            runs={run.id: _MadeUp(run, self.unlearned).record for run in runs},
            baselines={task_id: _baselines(run) for task_id, run in tasks.items()},
        )


def null_world(suite: Suite) -> World:
    """A world in which no run has learned anything."""
    return World("null", "nothing was learned", suite, nothing_learned)


def reversed_world(claims: Claims, suite: Suite) -> World:
    """A world in which every run has learned, and each comparison that the claims state is reversed."""
    stated = comparisons(claims, suite)
    claim_ids = tuple(dict.fromkeys(comparison.claim for comparison in stated))
    return World("reversed", "every stated order is reversed", suite, ReversedShares(stated), claim_ids)


def nothing_learned(run: Run, step: int, evaluation: str) -> float:
    """The unlearned share of every run in a world in which nothing is learned: 1."""
    return 1.0


def floor_of(run: Run, evaluation: Evaluation) -> Floats:
    """Normalised error of the best predictor by column: 1 at the first position, 0 at the last."""
    columns = np.arange(len(evaluation.positions), dtype=np.float64)
    if run.task.metric == "accuracy":  # a few examples identify the function: 0.02 on average over 140
        return np.asarray(np.exp(-columns / 2.2))
    # As in linear regression with half as many dimensions as positions: 0.25 on average.
    return np.maximum(0.0, 1 - 2 * columns / max(1, len(columns) - 1))


@dataclass
class _MadeUp:
    """The made-up result of one run."""

    run: Run
    unlearned: Unlearned

    @cached_property
    def _evaluations(self) -> dict[str, Evaluation]:
        return self.run.evaluations()

    @property
    def record(self) -> RunRecord:
        run = self.run
        checkpoints = [self._checkpoint(step) for step in self._steps]
        value = {
            "format": FORMAT,
            "kind": "run",
            "id": run.id,
            "outcome": "finished",
            "reason": None,
            "run": run.identity(),
            "facts": as_read(run_facts(run)),
            "checkpoints": checkpoints,
            "convergence_step": self._converged_step,
            "stop": self._stop,
            "per_prompt": {"report": self._per_prompt(checkpoints[-1]["evaluations"][MAIN])},
            "prompts": _prompts(run),
            "curve": {},
            "provenance": {"synthetic": True},
        }
        return RunRecord.model_validate(value)

    @cached_property
    def _converged_step(self) -> int | None:
        """The first check, or the first checkpoint without a stop rule, at which the task is learned."""
        run = self.run
        if run.task.convergence_accuracy is None:
            return None
        checks = range(run.stop.every, run.steps + 1, run.stop.every) if run.stop else run.checkpoints
        accuracies = ((step, 1 - float(self._errors(step, MAIN).mean())) for step in checks)
        return first_converged(accuracies, run.task.convergence_accuracy)

    @property
    def _stop(self) -> dict[str, int | None] | None:
        if self.run.stop is None:
            return None
        converged_step, end = self._converged_step, self.run.steps
        if converged_step is not None:
            end = min(end, converged_step + self.run.stop.after_convergence)
        return {"step": end, "converged_step": converged_step}

    @property
    def _steps(self) -> list[int]:
        """The steps of the checkpoints; after a stop there are none, and the last is at the end."""
        if self._stop is None:
            return list(self.run.checkpoints)
        end = self._stop["step"] or self.run.steps
        return [*(step for step in self.run.checkpoints if step < end), end]

    def _errors(self, step: int, evaluation: str) -> Floats:
        """Errors by column, as claims have them: over the trivial predictor's, or 1 − accuracy."""
        description = self._evaluations[evaluation]
        floor = floor_of(self.run, description)
        share = self.unlearned(self.run, step, evaluation)
        trivial = _trivial_error(self.run, description)
        return trivial * (floor + share * (1 - floor)) * self._noise(step, evaluation)

    def _noise(self, step: int, evaluation: str) -> float:
        return 1 + random.Random(f"{self.run.id} {step} {evaluation}").uniform(-NOISE, NOISE)

    def _checkpoint(self, step: int) -> dict[str, Any]:
        run = self.run
        evaluations = {name: self._scores(step, name) for name in self._evaluations}
        validation = self._noise(step, SELECTION)
        main = evaluations[MAIN]
        evaluations[SELECTION] = {
            key: [main[key][0] * validation, main[key][1]] for key in ("overall", "headline")
        }
        return {
            "step": step,
            "training_flops": run.training_flops(step),
            "training_flops_full_length": run.training_flops_full_length(step),
            "evaluations": evaluations,
        }

    def _scores(self, step: int, evaluation: str) -> dict[str, Any]:
        """The scores of one evaluation, as `bench.results.record.Scores` has them."""
        run, description = self.run, self._evaluations[evaluation]
        errors = self._errors(step, evaluation)
        mean, spread = _raw_with_error(run, errors, description, float(np.hypot(PROMPT_SPREAD, RUN_SPREAD)))
        overall = [float(mean.mean()), float(spread.mean())]
        column = description.marks.get(run.task.headline) if run.task.headline else None
        return {
            "mean": mean.tolist(),
            "standard_error": spread.tolist(),
            "overall": overall,
            "headline": overall if column is None else [float(mean[column]), float(spread[column])],
        }

    def _per_prompt(self, scores: Mapping[str, Any]) -> str:
        """Each prompt's headline score, as a result stores it. Their mean is the headline."""
        run = self.run
        factors = 1 + PROMPT_SPREAD * _standard(run.task_id, run) + RUN_SPREAD * _standard(run.id, run)
        headline = np.array(scores["headline"][0])
        values = 1 - (1 - headline) * factors if run.task.metric == "accuracy" else headline * factors
        return base64.b64encode(values.astype("<f4").tobytes()).decode()


def _standard(key: str, run: Run) -> Floats:
    """A number per prompt, with mean 0 and standard deviation 1 over them, that depends on `key` alone."""
    numbers = np.random.default_rng(int(key, 16)).uniform(size=run.evaluation_prompts)
    deviations = numbers - numbers.mean()
    return np.asarray(deviations / deviations.std())


def _trivial_error(run: Run, description: Evaluation) -> Floats:
    """The trivial predictor's error, by column: 1 − accuracy, or its squared error over the scale."""
    task = run.task
    if description.trivial is not None:
        return 1 - np.array(description.trivial)
    error = 1 - task.trivial if task.metric == "accuracy" else task.trivial / task.error_scale
    return np.full(len(description.positions), error)


def _raw(run: Run, errors: Floats, description: Evaluation) -> Floats:
    """Errors as raw scores of the task's metric."""
    if (description.metric or run.task.metric) == "accuracy":
        return 1 - errors
    # An evaluation of another metric has the same share of its own trivial error.
    share = errors if description.metric is None else errors / _trivial_error(run, description)
    return np.asarray(share * description.error_scale)


def _raw_with_error(
    run: Run, errors: Floats, description: Evaluation, spread: float
) -> tuple[Floats, Floats]:
    """Raw scores and their standard errors, where errors vary by `spread` (relative) over prompts."""
    mean = _raw(run, errors, description)
    relative = spread / np.sqrt(run.evaluation_prompts)
    return mean, np.abs(_raw(run, errors * (1 + relative), description) - mean)


def _prompts(run: Run) -> dict[str, dict[str, Any]]:
    """Digests of the made-up prompts: equal for all runs of a task."""
    names = (*run.evaluations(), SELECTION)
    return {
        name: {"count": run.evaluation_prompts, "sha256": f"made up: {run.task_id} {name}"} for name in names
    }


def _baselines(run: Run) -> BaselinesRecord:
    """The trivial predictor and the floor of a run's task, on every evaluation."""
    value = {
        "format": FORMAT,
        "kind": "baselines",
        "id": run.task_id,
        "task": run.task.identity(),
        "facts": as_read(task_facts(run.task, run.task_id)),
        "prompts": _prompts(run),
        "baselines": [
            _baseline(run, kind, evaluation)
            for evaluation in run.task.evaluations()
            for kind in ("trivial", "floor")
        ],
        "provenance": {"synthetic": True},
    }
    return BaselinesRecord.model_validate(value)


def _baseline(run: Run, kind: str, evaluation: str) -> dict[str, Any]:
    description = run.evaluations()[evaluation]
    floor = floor_of(run, description)
    errors = _trivial_error(run, description) * (floor if kind == "floor" else np.ones_like(floor))
    mean, error = _raw_with_error(run, errors, description, PROMPT_SPREAD)
    return {
        "name": kind,
        "kind": kind,
        "evaluation": evaluation,
        "positions": list(description.positions),
        "mean": mean.tolist(),
        "standard_error": error.tolist(),
        "prompts": run.evaluation_prompts,
    }
