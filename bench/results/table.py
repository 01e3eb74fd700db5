"""All results as one data frame, with a row per run and checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bench.results.evaluations import headline, normalised
from bench.results.record import MAIN, SELECTION, RunRecord
from bench.results.store import Pool
from bench.run import SETTINGS, value_of

if TYPE_CHECKING:
    import pandas as pd

DESCRIBED = {
    "id": "the run's id: the hash of every field that moves its numbers",
    "outcome": "finished or diverged",
    "task": "the task's name",
    "task_id": "identifies the task's settings and its evaluation prompts; equal ones are comparable",
    "architecture": "the architecture's name, with its options",
    "layers": "layers of two blocks",
    "width": "nominal width",
    "heads": "attention heads; missing without attention",
    "size_group": "Table 6's name for the size; missing for other sizes",
    **{name: setting.meaning for name, setting in SETTINGS.items()},
    "parameters": "trainable parameters, read-in and read-out included",
    "step": "the checkpoint; 0 for a run that diverged before its first",
    "training_flops": "training FLOPs up to the checkpoint (Appendix B), curriculum counted",
    "training_flops_full_length": "the same with every step at full length: the FLOPs axis of reports",
    "score": "raw headline score on the test prompts: squared error or accuracy",
    "score_se": "its standard error over prompts",
    "error": "the score as an error: squared error over what the trivial predictor scores, or 1 − accuracy",
    "error_se": "its standard error over prompts",
    "selection_error": "the same on the validation prompts, on which learning rates are chosen",
    "selection_error_se": "its standard error over prompts",
    "convergence_step": "step of the first checkpoint at which the task counts as learned; missing if never",
    "steps_per_second": "training speed",
    "device": "the device that trained the run",
}
"""Columns and what they mean. Scores are of the task's headline: the mean over positions, or a mark."""
COLUMNS = list(DESCRIBED)


def frame(pool: Pool) -> pd.DataFrame:
    """One row per run and checkpoint; the columns every table and figure is made from.

    Scores are raw, those of the task's headline (the mean over positions, or the mark that
    `facts.headline` names); `error` and `error_se` are normalised so that the trivial predictor of a
    regression task scores 1. `error` of an accuracy is 1 − accuracy. A run that diverged before its
    first checkpoint has one row with `step` 0 and missing scores.
    """
    import pandas as pd

    rows = [row for result in pool.runs.values() for row in _rows(result)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _rows(result: RunRecord) -> Iterator[dict[str, Any]]:
    run, facts = result.run, result.facts
    common = {
        "id": result.id,
        "outcome": result.outcome,
        "task": run.task.name,
        "task_id": facts.task_id,
        "architecture": run.architecture.name,
        "layers": run.size.layers,
        "width": run.size.width,
        "heads": run.size.heads,
        "size_group": facts.size_group,
        **{name: value_of(run, name) for name in SETTINGS},
        "parameters": facts.parameters,
        "convergence_step": result.convergence_step,
        "steps_per_second": result.provenance.steps_per_second,
        "device": result.provenance.device,
    }
    if not result.checkpoints:
        yield {**common, "step": 0, "training_flops": 0, "training_flops_full_length": 0}
    for checkpoint in result.checkpoints:
        score = headline(result, checkpoint, MAIN)
        error, error_se = normalised(result, MAIN, score)
        selection, selection_se = normalised(result, SELECTION, headline(result, checkpoint, SELECTION))
        yield {
            **common,
            "step": checkpoint.step,
            "training_flops": checkpoint.training_flops,
            "training_flops_full_length": checkpoint.training_flops_full_length,
            "score": score[0],
            "score_se": score[1],
            "error": error,
            "error_se": error_se,
            "selection_error": selection,
            "selection_error_se": selection_se,
        }
