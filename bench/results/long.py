"""Results as data frames in long form: scores by position, training curves, scores of prompts, baselines.

The column `id` joins them to the table of runs and checkpoints (`bench.results.table`); baselines join by
`task_id`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from bench.results.evaluations import Scored, marks, normalised, positions, prompt_errors
from bench.results.pieces import trained_pieces
from bench.results.record import RunRecord, Scores, per_prompt
from bench.results.store import Pool

if TYPE_CHECKING:
    import pandas as pd

_SCORE = {
    "score": "raw score: squared error, accuracy, cross-entropy or KL divergence in nats, or total variation",
    "score_se": "its standard error over prompts",
    "error": "the score as an error: divided by the error scale of the evaluation, or 1 − accuracy",
    "error_se": "its standard error over prompts",
}
POSITIONS = {
    "id": "the run's id",
    "step": "the checkpoint",
    "evaluation": "report (test prompts as in training), or another one of the task, such as clean_prompts",
    "position": "in-context examples before the prediction; of other tasks what the evaluation counts",
    "mark": "name of the position, such as last; missing for most",
    **_SCORE,
    "in_mean": "whether the mean over positions includes the position",
}
CURVES = {
    "id": "the run's id",
    "step": "last step of the window",
    "loss": "mean training loss in the window",
    "gradient_norm": "largest norm of the gradient in the window, before clipping",
}
PROMPTS = {
    "id": "the run's id",
    "prompt": "number of the test prompt, the same prompt for all runs of a task_id",
    "score": "raw headline score of the prompt at the last checkpoint",
    "error": "the score as an error",
}
PIECES = {
    "id": "the run's id",
    "piece": "number of the process among those that trained the run one after another, from 0",
    "from_step": "optimisation steps done when the process began",
    "to_step": "its last step that counts; missing for the last process of a run that diverged",
    "device": "the device",
    "host": "the machine's name",
    "commit": "commit of bench",
    "dirty": "whether the code had uncommitted changes",
    "source": "digest of bench's Python files",
    "torch": "version of PyTorch",
    "triton": "version of Triton",
    "cuda": "version of CUDA with which PyTorch was built",
    "kernels": "the kernels' backend",
    "backends": "the backend that computed each kernel of the model and the optimizer, as JSON",
    "captured": "whether whole steps were captured as one graph; else they ran operation by operation",
    "processes": "processes that shared each batch",
    "stack_members": "runs in the stack",
}
BASELINES = {
    "task_id": "identifies the task's settings and its evaluation prompts",
    "task": "the task's name",
    "name": "the predictor",
    "kind": "floor (no predictor is better), reference, baseline or trivial",
    "evaluation": "report, or another evaluation of the task",
    "position": "in-context examples before the prediction; of other tasks what the evaluation counts",
    **_SCORE,
    "mean_error": "the error over all scored positions, where it is not the mean of the rows; else missing",
    "in_mean": "whether the mean over positions includes the position",
    "prompts": "prompts on which the predictor was scored",
}
EVALUATIONS = {
    "id": "the run's id",
    "task": "name of the task of the prompts",
    "task_id": "identifies the task's settings and prompts; runs with the same were scored on them",
    "settings": "the task's settings, as JSON",
    **{name: POSITIONS[name] for name in ("evaluation", "position", "mark")},
    **_SCORE,
    "in_mean": POSITIONS["in_mean"],
    "prompts": "number of prompts",
}


def positions_frame(pool: Pool) -> pd.DataFrame:
    """Scores by position: a row per run, checkpoint, evaluation and position. Columns: POSITIONS."""
    return _table((row for result in pool.runs.values() for row in _by_position(result)), POSITIONS)


def _by_position(result: RunRecord) -> Iterator[tuple[Any, ...]]:
    for checkpoint in result.checkpoints:
        for name, scores in checkpoint.evaluations.items():
            for row in _at_positions(result, name, scores):
                yield (result.id, checkpoint.step, name, *row)


def evaluations_frame(pool: Pool) -> pd.DataFrame:
    """Scores of models on other prompts (`bench evaluate --store`): a row per file, evaluation and position.

    Columns: EVALUATIONS.
    """
    rows = []
    for record in pool.evaluations:
        settings = json.dumps(record.task.settings)
        for name, scores in record.evaluations.items():
            prompts = record.prompts.get(name, next(iter(record.prompts.values()))).count
            for row in _at_positions(record, name, scores):
                rows.append(
                    (record.id, record.task.name, record.facts.task_id, settings, name, *row, prompts)
                )
    return _table(rows, EVALUATIONS)


def _at_positions(record: Scored, name: str, scores: Scores) -> Iterator[tuple[Any, ...]]:
    """Position, mark, score, error and whether it counts in the mean, for every column of an evaluation."""
    where = positions(record, name, len(scores.mean))
    # "last" is a mark of most tasks; another name of the same column says more.
    named = {column: mark for mark, column in sorted(marks(record, name).items(), key=_last_first)}
    pairs = zip(scores.mean, scores.standard_error, strict=True)
    for column, (position, raw) in enumerate(zip(where, pairs, strict=True)):
        in_mean = position >= record.facts.first_position
        yield position, named.get(column), *raw, *normalised(record, name, raw), in_mean


def _last_first(item: tuple[str, int]) -> bool:
    return item[0] != "last"


def curves_frame(pool: Pool) -> pd.DataFrame:
    """Training curves: a row per run and window of steps. Columns: CURVES."""
    rows = (
        (result.id, *point)
        for result in pool.runs.values()
        for point in zip(result.curve.step, result.curve.loss, result.curve.gradient_norm, strict=True)
    )
    return _table(rows, CURVES)


def pieces_frame(pool: Pool) -> pd.DataFrame:
    """The processes that trained each run: a row per run and process. Columns: PIECES.

    What was not recorded, as in older results, is missing.
    """
    rows = []
    for result in pool.runs.values():
        for number, (from_step, to_step, piece) in enumerate(trained_pieces(result)):
            backends = None if piece.backends is None else json.dumps(piece.backends)
            rows.append(
                (
                    result.id, number, from_step, to_step, piece.device, piece.host, piece.commit,
                    piece.dirty, piece.source, piece.torch, piece.triton, piece.cuda, piece.kernels,
                    backends, piece.captured, piece.processes, piece.members,
                )
            )  # fmt: skip
    whole = dict.fromkeys(("from_step", "to_step", "processes", "stack_members"), "Int64")
    return _table(rows, PIECES).astype({**whole, "dirty": "boolean", "captured": "boolean"})


def prompts_frame(pool: Pool) -> pd.DataFrame:
    """Headline scores of single test prompts: a row per finished run and prompt. Columns: PROMPTS."""
    rows = (
        (result.id, prompt, float(score), float(error))
        for result in pool.runs.values()
        if (errors := prompt_errors(result)) is not None
        for prompt, (score, error) in enumerate(zip(per_prompt(result), errors, strict=True))
    )
    return _table(rows, PROMPTS)


def baselines_frame(pool: Pool) -> pd.DataFrame:
    """Predictors that were not trained: a row per task, predictor and position. Columns: BASELINES."""
    rows = []
    for record in pool.baselines.values():
        facts = record.facts
        for baseline in record.baselines:
            evaluation, mean_error = baseline.evaluation, math.nan
            if baseline.overall:
                mean_error, _ = normalised(record, evaluation, (baseline.overall[0], 0.0))
            scores = zip(baseline.mean, baseline.standard_error, strict=True)
            for position, score in zip(baseline.positions, scores, strict=True):
                rows.append(
                    (
                        facts.task_id, record.task.name, baseline.name, baseline.kind, evaluation, position,
                        *score, *normalised(record, evaluation, score), mean_error,
                        position >= facts.first_position, baseline.prompts,
                    )
                )  # fmt: skip
    return _table(rows, BASELINES)


def _table(rows: Iterable[tuple[Any, ...]], columns: dict[str, str]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(list(rows), columns=list(columns))
