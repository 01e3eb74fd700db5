"""The result of a run from the notes of its training."""

from __future__ import annotations

from typing import Any

from bench.results import FORMAT, run_facts
from bench.results.evaluations import first_converged
from bench.run import Run
from bench.tasks.task import MAIN
from bench.train.notes import MemberNotes


def run_result(
    run: Run, notes: MemberNotes, prompts: dict[str, dict[str, Any]], provenance: dict[str, Any]
) -> dict[str, Any]:
    """The result of a run that finished or diverged (format 1).

    Args:
        run: the run.
        notes: the record of its training.
        prompts: numbers and digests of the prompts on which it was scored, by evaluation.
        provenance: the part of its provenance that comes from training.
    """
    stop = None
    if run.stop is not None and notes.diverged is None:
        stop = {"step": notes.end(run), "converged_step": notes.converged}
    entries = {
        "format": FORMAT,
        "kind": "run",
        "id": run.id,
        "outcome": "finished" if notes.diverged is None else "diverged",
        "reason": notes.diverged,
        "run": run.identity(),
        "facts": run_facts(run),
        "checkpoints": notes.checkpoints,
        "not_evaluated": notes.not_evaluated,
        "convergence_step": notes.converged if run.stop else _convergence_step(run, notes.checkpoints),
        "stop": stop,
        "per_prompt": {"report": notes.per_prompt},
        "prompts": prompts,
        "curve": notes.curve,
        "provenance": provenance,
    }
    optional = ("not_evaluated", "stop")
    return {name: value for name, value in entries.items() if value or name not in optional}


def _convergence_step(run: Run, checkpoints: list[dict[str, Any]]) -> int | None:
    """Step of the first checkpoint whose mean accuracy reaches the task's threshold; None without one."""
    accuracies = ((point["step"], point["evaluations"][MAIN]["overall"][0]) for point in checkpoints)
    return first_converged(accuracies, run.task.convergence_accuracy)
