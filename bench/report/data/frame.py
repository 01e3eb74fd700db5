"""The frame that every section, table and figure of a report reads: planned runs and their results.

It has one row per planned run, checkpoint and evaluation. A run without a checkpoint has one row without a
step. `ResultRow` names the columns.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from bench.json_data import leaves
from bench.models.sizes import size_text
from bench.report.data.naming import named
from bench.report.data.scale import ScoreScale
from bench.report.style import Look, looks
from bench.results import Checkpoint, Pool, RunRecord
from bench.results.evaluations import (
    column,
    convergence_step,
    error_at,
    headline,
    independent_prompts,
    marks,
    positions,
    prompt_errors,
)
from bench.results.flops_axis import AXIS, axis_flops
from bench.results.horizon import horizon
from bench.results.record import MAIN, SELECTION, Scores
from bench.run import Run
from bench.tasks import TASKS
from bench.tasks.task import LONGER
from bench.uncertainty import Floats

WITH_RESULTS = ("finished", "diverged")
STATES = (*WITH_RESULTS, "failed", "missing")
"""States of planned runs. Results say finished or diverged, the dispatcher says failed."""
TUNED = ["learning_rate", "clip"]
CELL = ["task_id", "series", "size"]
"""What a row of a table stands for: a task, a series (an architecture or a variant of one) and a size."""
LEFT_OUT = (SELECTION, "hidden", "teacher_forced")
"""Evaluations without rows of their own: no figure of the paper shows them."""


class ResultRow(NamedTuple):
    """One evaluation of one checkpoint of a planned run. Its fields are the columns of the frame.

    Attributes:
        id: the run's.
        task_id: the task's.
        task_name: as in suites.
        architecture: as in suites, without options.
        size: layers × width.
        size_group: the paper's name for the size.
        layers, width, parameters: of the model.
        state_numbers: numbers of a prompt that the model keeps to read the next token; None if one of its
            blocks does not state them.
        learning_rate, clip, batch_size, seed, steps: of the run.
        optimizer: its name.
        planned_flops: training FLOPs of the whole run (as all FLOPs of the frame in the count that
            `flops_axis.AXIS` names); the real ones of a run that stopped after convergence.
        done_flops: training FLOPs up to the last checkpoint. What a diverged run did after it is not known.
        state: one of STATES.
        as_defined: whether the task has its default settings, which are the paper's.
        settings: the task's numeric fields.
        score_scale: how the task's scores are shown.
        task: the task's name for people, which tells it from the others of the suite.
        short_task: its name among the selected runs, for names of files.
        model: the architecture's name for people, with its options, which is the same in the whole report.
        series: `model`, with what else distinguishes the selected runs.
        colour_and_marker: of the architecture, the same in every figure of the report.
        step: the checkpoint's.
        at_end: the checkpoint is the last one of a finished run. A run that stopped after convergence ends
            before `steps`.
        stopped_at: the last step of a run that stopped after convergence; NaN for other runs.
        training_flops: up to the checkpoint. 0 without one, because a NaN would make the column inexact.
        evaluation: "report", or another that the task has ("clean_prompts").
        score, score_se: the evaluation's headline, raw, and its standard error over prompts.
        error, error_se: the same, normalised; 1 − accuracy.
        prompt_errors: `error` on every prompt, at the last checkpoint and for "report"; else None.
        prompts: digest of the prompts of "report".
        independent_prompts: number of the evaluation's prompts, those that share a function counted once.
        selection_error: the error on the validation prompts, for "report".
        error_last, error_last_se: the error at the last position.
        headline_position: the position of the headline's mark, counted from 0; NaN for a mean.
        convergence_step: step of the first checkpoint whose accuracy counts as learned.
        loss_steps, losses: at the last checkpoint and for "report": the training loss, the mean of the window
            that ends at each step.
        horizon, horizon_se: `horizon.horizon` of an evaluation on longer prompts at the last checkpoint, and
            its standard error over prompts; NaN for other evaluations, and where scores are no accuracies.
        horizon_unit: the distance to the next larger horizon (`Steps.unit`).
        examples, curve, curve_se: at the last checkpoint: positions, raw scores there, standard errors.
    """

    id: str
    task_id: str
    task_name: str
    architecture: str
    size: str
    size_group: str | None
    layers: int
    width: int
    parameters: int
    state_numbers: int | None
    learning_rate: float
    clip: float
    batch_size: int
    seed: int
    steps: int
    optimizer: str
    planned_flops: int
    done_flops: int
    state: str
    as_defined: bool
    settings: Mapping[str, int]
    score_scale: ScoreScale
    independent_prompts: int
    task: str = ""
    short_task: str = ""
    model: str = ""
    series: str = ""
    colour_and_marker: Look | None = None
    step: float = math.nan
    at_end: bool = False
    training_flops: int = 0
    evaluation: str = MAIN
    score: float = math.nan
    score_se: float = math.nan
    error: float = math.nan
    error_se: float = math.nan
    prompt_errors: Floats | None = None
    prompts: str = ""
    selection_error: float = math.nan
    error_last: float = math.nan
    error_last_se: float = math.nan
    headline_position: float = math.nan
    convergence_step: int | None = None
    stopped_at: float = math.nan
    loss_steps: Sequence[int] | None = None
    losses: Sequence[float] | None = None
    horizon: float = math.nan
    horizon_se: float = math.nan
    horizon_unit: float = 0.0
    examples: list[int] | None = None
    curve: Sequence[float] | None = None
    curve_se: Sequence[float] | None = None


def results_frame(runs: Iterable[Run], pool: Pool, states: Mapping[str, str]) -> pd.DataFrame:
    """The frame of `runs`, in the order of the plan.

    Args:
        runs: the planned runs.
        pool: results; those of other runs are left out.
        states: states of runs without a result, by run id. "failed" is kept, any other word means missing.
    """
    unique = list({run.id: run for run in runs}.values())
    rows = [row for run in unique for row in _rows(run, pool.runs.get(run.id), states.get(run.id))]
    frame = pd.DataFrame(rows, columns=list(ResultRow._fields)).astype({"state_numbers": "float64"})
    frame["colour_and_marker"] = frame["architecture"].map(looks(frame["architecture"]))
    return named(frame.astype(dict.fromkeys(frame.select_dtypes("string"), object)), unique)


def looks_in(results: pd.DataFrame) -> dict[str, Look]:
    """Colour and marker of each architecture in a part of the frame: the same in all figures of a report."""
    return dict(zip(results["architecture"], results["colour_and_marker"], strict=True))


def of_runs(results: pd.DataFrame, runs: Iterable[Run]) -> pd.DataFrame:
    """The rows of some runs, in the order of `runs`. Names of series tell apart what differs among them."""
    unique = {run.id: run for run in runs}
    places = {run_id: place for place, run_id in enumerate(unique)}
    rows = results[results["id"].isin(places)]
    order = rows["id"].map(places).to_numpy().argsort(kind="stable")
    return named(rows.iloc[order].reset_index(drop=True), list(unique.values()), whole=False)


def _rows(run: Run, result: RunRecord | None, state: str | None) -> Iterator[ResultRow]:
    fields = leaves(run.task.model_dump(mode="json"))
    row = ResultRow(
        id=run.id,
        task_id=run.task_id,
        task_name=run.task.name,
        architecture=run.architecture.base_name,
        size=size_text(run.size),
        size_group=run.size_group,
        layers=run.size.layers,
        width=run.size.width,
        parameters=run.parameters,
        state_numbers=run.state_numbers,
        learning_rate=run.learning_rate,
        clip=run.clip,
        batch_size=run.batch_size,
        seed=run.seed,
        steps=run.steps,
        optimizer=run.optimizer.name,
        planned_flops=int(getattr(run, AXIS)(result.last_step if result else None)),
        done_flops=axis_flops(result.last) if result and result.last else 0,
        state=result.outcome if result else "failed" if state == "failed" else "missing",
        as_defined=run.task.name in TASKS and run.task == TASKS[run.task.name].example(),
        settings={path[0]: value for path, value in fields if len(path) == 1 and isinstance(value, int)},
        score_scale=ScoreScale.of(run.task),
        independent_prompts=run.independent_prompts,
    )
    if result is None or result.last is None:
        yield row
        return
    row = row._replace(convergence_step=convergence_step(result))
    for checkpoint in result.checkpoints:
        for name, scores in checkpoint.evaluations.items():
            if name not in LEFT_OUT:
                yield _evaluated(row, result, checkpoint, name, scores)


def _evaluated(
    row: ResultRow, result: RunRecord, checkpoint: Checkpoint, name: str, scores: Scores
) -> ResultRow:
    """The row of a run with the scores of one evaluation of a checkpoint."""
    score, score_se = headline(result, checkpoint, name)
    error, error_se = error_at(result, checkpoint, name)
    last, last_se = error_at(result, checkpoint, name, "last")
    row = row._replace(
        step=checkpoint.step,
        at_end=result.finished and checkpoint is result.last,
        stopped_at=result.last_step if result.last_step < row.steps else math.nan,
        training_flops=axis_flops(checkpoint),
        evaluation=name,
        score=score,
        score_se=score_se,
        error=error,
        error_se=error_se,
        error_last=last,
        error_last_se=last_se,
        headline_position=_headline_position(result, scores, name),
        independent_prompts=independent_prompts(result, name),
    )
    if name == MAIN:
        row = row._replace(selection_error=error_at(result, checkpoint, SELECTION)[0])
        if checkpoint is result.last:
            row = row._replace(
                prompt_errors=prompt_errors(result), prompts=result.prompts[MAIN].sha256,
                loss_steps=result.curve.step, losses=result.curve.loss,
            )  # fmt: skip
    if name == LONGER and row.at_end:
        reached = horizon(result, checkpoint, name)
        if reached is not None:
            row = row._replace(
                horizon=reached.value, horizon_se=reached.prompt_error, horizon_unit=reached.unit
            )
    if checkpoint is result.last and scores.mean:
        examples = list(positions(result, name, len(scores.mean)))
        row = row._replace(examples=examples, curve=scores.mean, curve_se=scores.standard_error)
    return row


def _headline_position(result: RunRecord, scores: Scores, name: str) -> float:
    mark, columns = result.facts.headline, len(scores.mean)
    if not mark or not columns or mark not in marks(result, name):
        return math.nan
    index = column(result, name, mark, columns)
    return math.nan if index is None else float(positions(result, name, columns)[index])


def varied_setting(results: pd.DataFrame) -> str | None:
    """The numeric field in which the tasks of a figure differ; None when they differ in none."""
    settings = results.drop_duplicates("task_id")["settings"].to_list()
    fields = [key for key in settings[0] if len({values.get(key) for values in settings}) > 1]
    return fields[0] if fields else None


def tuples(table: pd.DataFrame, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """The values of some columns, a tuple per row."""
    return list(zip(*(table[name].tolist() for name in columns), strict=True))


def runs_of(rows: pd.DataFrame) -> pd.DataFrame:
    """The first row of each run: the plan."""
    first = rows[~rows["id"].duplicated()]
    return first.set_axis(pd.RangeIndex(len(first)))


def total(flops: pd.Series[int]) -> int:
    """The sum of training FLOPs, exact where 64 bits would not hold it."""
    return sum(int(value) for value in flops)


def counts(rows: pd.DataFrame) -> dict[str, int]:
    """The number of planned runs in each state, all of STATES included."""
    ended = Counter(rows.loc[~rows["id"].duplicated(), "state"].to_list())
    return {state: ended[state] for state in STATES}


def tally(rows: pd.DataFrame) -> str:
    """How planned runs ended: "missing (4 of 4 runs)", "finished (3), diverged (1 of 4 runs)", "finished"."""
    return tallied(counts(rows))


def tallied(ended: Mapping[str, int]) -> str:
    """`tally` of counts by state."""
    states = [(state, count) for state, count in ended.items() if count]
    if [state for state, _ in states] == ["finished"]:
        return "finished"
    *first, (state, count) = states
    total = sum(ended.values())
    noun = "run" if total == 1 else "runs"
    return ", ".join([*(f"{word} ({runs})" for word, runs in first), f"{state} ({count} of {total} {noun})"])
