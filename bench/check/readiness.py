"""Whether results suffice to decide a claim: all of its runs have ended, and their results are comparable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from bench.check.quantity import Quantity
from bench.digits import count_of
from bench.results import Pool, RunRecord
from bench.results.evaluations import checkpoint_at
from bench.results.record import MAIN, SELECTION
from bench.run import Run


def missing(
    planned: Iterable[tuple[Quantity, list[Run]]], pool: Pool, states: Mapping[str, str]
) -> str | None:
    """The number of runs without a result by experiment, as text; None if all have one."""
    by_experiment: dict[str, dict[str, str]] = {}
    for quantity, runs in planned:
        if not runs:
            return f"no planned run of {quantity.planned_by} is what it measures"
        run_states = by_experiment.setdefault(quantity.planned_by, {})
        for run in runs:
            state = _state(run, quantity.step, pool, states)
            if run_states.get(run.id, "finished") == "finished":  # two quantities may need two checkpoints
                run_states[run.id] = state
    reasons = []
    for experiment, run_states in by_experiment.items():
        counts = Counter(run_states.values())
        lacking = len(run_states) - counts.pop("finished", 0) - counts["diverged"]
        if lacking:
            listed = ", ".join(f"{count:,} {word}" for word, count in sorted(counts.items()) if count)
            reasons.append(f"{experiment} lacks {lacking:,} of {count_of(len(run_states), 'run')} ({listed})")
    return "; ".join(reasons) or None


def _state(run: Run, step: int | None, pool: Pool, states: Mapping[str, str]) -> str:
    result = pool.runs.get(run.id)
    if result is None:
        return "failed" if states.get(run.id) == "failed" else "missing"
    if not result.finished:
        return "diverged"
    if step is not None and result.last_step < min(step, result.run.steps):
        return f"stopped before step {step:,}"
    return "finished" if checkpoint_at(result, step) else "without its checkpoint"


def incomparable(results: Sequence[RunRecord], allow_synthetic: bool) -> str | None:
    """Why these results cannot be compared with each other or with a claim; None if they can."""
    synthetic = sum(bool(result.provenance.synthetic) for result in results)
    if synthetic and not allow_synthetic:
        are = "is" if synthetic == 1 else "are"
        return f"{synthetic} of {count_of(len(results), 'result')} {are} synthetic: made up, not measured"
    by_task: dict[str, list[RunRecord]] = {}
    for result in results:
        by_task.setdefault(result.facts.task_id, []).append(result)
    for kind in (MAIN, SELECTION):
        for group in by_task.values():
            digests = Counter(result.prompts[kind].sha256 for result in group)
            if len(digests) > 1:
                groups = " and ".join(str(count) for count in digests.values())
                return f"the runs were not scored on the same {kind} prompts (groups of {groups})"
    return None
