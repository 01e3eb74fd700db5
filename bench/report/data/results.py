"""The data frame that every figure and table of the paper is drawn from.

One row per planned run, checkpoint and evaluation; a run without a checkpoint has one row with no step.
Rows carry what a figure asks for and nothing of how results are stored. Names for people (`task`,
`series`) tell apart what differs within the experiments that were asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pandas as pd

from bench.report.data import estimates
from bench.report.data.estimates import ScoreScale
from bench.report.data.planned import PLAN_COLUMNS, planned
from bench.results import Checkpoint, Pool, RunRecord
from bench.results.evaluations import column, convergence_step, marks, normalised, number, positions
from bench.results.record import MAIN, Scores
from bench.run import Run, leaves
from bench.tasks import TASKS

ADDED = [
    "task_name", "as_defined", "settings", "optimizer", "metric", "scale", "trivial", "n_points", "headline",
    "headline_position", "step", "training_flops", "evaluation", "error", "error_se", "selection_error",
    "error_last", "error_last_se", "examples", "curve", "curve_se", "convergence_step",
]  # fmt: skip
COLUMNS = [*PLAN_COLUMNS, *ADDED]
"""Those of `planned.planned`, and:

task_name       as in suites
as_defined      whether the task has its default settings: the paper's
settings        the task's numeric fields, a dict
optimizer       its name
metric, scale, trivial, n_points, headline
                see `estimates.ScoreScale`
headline_position
                the position that the headline's mark stands for, counted from 0; missing for a mean
step, training_flops
                of the checkpoint; missing where there is none
evaluation      "report", or another that the task has ("clean_prompts")
error, error_se normalised; 1 − accuracy. Of the evaluation's headline
selection_error the same on the validation prompts, for "report"
error_last, error_last_se
                at the last position
examples, curve, curve_se
                at the last checkpoint: positions, raw scores there and their standard errors, lists
convergence_step
                the step of the first checkpoint that reaches the accuracy that counts as learned
"""
SCORES_ASIDE = ("selection", "hidden", "teacher_forced")
"""Evaluations that no figure of the paper shows."""


def results_frame(runs: Iterable[Run], pool: Pool, states: Mapping[str, str]) -> pd.DataFrame:
    """The frame of `runs`, in the order of the plan."""
    unique = list({run.id: run for run in runs}.values())
    plan = planned(unique, pool, states)
    rows = [
        {**common, **row}
        for run, entry in zip(unique, plan.to_dict("records"), strict=True)
        for common in (_of_run(run, entry),)
        for row in _of_result(pool.runs.get(run.id))
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _of_run(run: Run, entry: Mapping[Any, Any]) -> dict[str, Any]:
    measure = ScoreScale.of(run.task)
    fields = dict(leaves(run.task.model_dump(mode="json")))
    return {
        **entry,
        "task_name": run.task.name,
        "as_defined": run.task == TASKS[run.task.name]() if run.task.name in TASKS else False,  # type: ignore[call-arg]
        "settings": {
            path[0]: value for path, value in fields.items() if len(path) == 1 and isinstance(value, int)
        },
        "optimizer": run.optimizer.name,
        "metric": measure.metric,
        "scale": measure.scale,
        "trivial": measure.trivial,
        "n_points": measure.n_points,
        "headline": measure.headline,
    }


def _of_result(result: RunRecord | None) -> Iterator[dict[str, Any]]:
    nothing = {"evaluation": "report", "error": math.nan, "error_se": math.nan, "selection_error": math.nan}
    if result is None or result.last is None:
        yield nothing
        return
    converged = convergence_step(result)
    for checkpoint in result.checkpoints:
        for name, scores in checkpoint.evaluations.items():
            if name in SCORES_ASIDE:
                continue
            error, error_se = _normalised(result, checkpoint, name, "headline")
            end, end_se = _normalised(result, checkpoint, name, "last")
            row = {
                "step": checkpoint.step,
                "training_flops": checkpoint.training_flops,
                "evaluation": name,
                "error": error,
                "error_se": error_se,
                "selection_error": math.nan,
                "error_last": end,
                "error_last_se": end_se,
                "headline_position": _headline_position(result, scores, name),
                "convergence_step": converged,
            }
            if name == MAIN:
                row["selection_error"] = _normalised(result, checkpoint, "selection", "headline")[0]
            if checkpoint is result.last and scores.mean:
                row["examples"] = list(positions(result, name, len(scores.mean)))
                row["curve"], row["curve_se"] = scores.mean, scores.standard_error
            yield row


def _normalised(result: RunRecord, checkpoint: Checkpoint, name: str, at: str) -> tuple[float, float]:
    raw = number(result, checkpoint, name, at)
    return (math.nan, math.nan) if raw is None else normalised(result, name, raw)


def _headline_position(result: RunRecord, scores: Scores, name: str) -> float:
    mark, columns = result.facts.headline, len(scores.mean)
    if not mark or not columns or mark not in marks(result, name):
        return math.nan
    index = column(result, name, mark, columns)
    return math.nan if index is None else float(positions(result, name, columns)[index])


def scale_of(rows: pd.DataFrame) -> ScoreScale:
    """How the scores of one task's rows are shown."""
    first = rows.iloc[0]
    headline = first["headline"]
    return ScoreScale(
        str(first["metric"]),
        float(first["scale"]),
        float(first["trivial"]),
        int(first["n_points"]),
        headline if isinstance(headline, str) else None,
    )


def references_frame(runs: Iterable[Run], pool: Pool) -> pd.DataFrame:
    """Return what is known of the tasks of `runs` without training: floor, baselines, trivial predictor.

    Columns: `estimates.BASELINE_COLUMNS` and task_id.
    """
    tasks = {run.task_id: run.task for run in runs}
    parts = [
        estimates.baselines(pool, task_id, ScoreScale.of(task), None).assign(task_id=task_id)
        for task_id, task in tasks.items()
    ]
    parts = [part for part in parts if len(part)]
    if not parts:
        return pd.DataFrame(columns=[*estimates.BASELINE_COLUMNS, "task_id"])
    return pd.concat(parts, ignore_index=True)


def varied_setting(results: pd.DataFrame) -> str | None:
    """The numeric field in which the tasks of a figure differ; None when they differ in none."""
    settings = results.drop_duplicates("task_id")["settings"].to_list()
    fields = [key for key in settings[0] if len({values.get(key) for values in settings}) > 1]
    return fields[0] if fields else None
