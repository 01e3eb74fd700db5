"""All results as one data frame, with a row per run and checkpoint.

Settings of a task or an optimizer are columns of their own, `task.n_dims`. So are the scores on evaluations
beside the main one, `clean_prompts.error`. `bench.results.long` has tables with more rows: scores by
position, training curves, scores of single prompts, baselines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from bench.frozen import identity
from bench.json_data import leaves
from bench.models.architectures import named
from bench.results.evaluations import error_at, headline
from bench.results.record import MAIN, SELECTION, Checkpoint, RunRecord
from bench.results.store import Pool
from bench.run import SETTINGS, value_of

if TYPE_CHECKING:
    import pandas as pd

DESCRIBED = {
    "id": "the run's id: the hash of every field that affects its numbers",
    "outcome": "finished or diverged",
    "task": "the task's name",
    "task_id": "identifies the task's settings and its evaluation prompts; equal ones are comparable",
    "metric": "kind of score: squared_error, accuracy, cross_entropy, kl_divergence or total_variation",
    "error_scale": "divisor of raw scores; 1 for an accuracy",
    "trivial": "raw score of a predictor that has learned nothing",
    "n_points": "points in a prompt, the query included",
    "length": "tokens in a prompt",
    "headline": "the mark at which the headline score is read; missing for the mean over positions",
    "architecture": "the architecture's name, with its options",
    "layers": "number of layers",
    "width": "nominal width",
    "heads": "attention heads; missing without attention",
    "size_group": "Table 6's name for the size; missing for other sizes",
    **{name: setting.meaning for name, setting in SETTINGS.items()},
    "evaluation_prompts": "test prompts, and as many validation prompts",
    "parameters": "trainable parameters, read-in and read-out included",
    "table_parameters": "trainable parameters without read-in and read-out, as Table 6 counts them",
    "state": "numbers of a prompt that the model keeps to read the next token; missing where not stated",
    "step": "the checkpoint; 0 for a run that diverged before its first",
    "last_step": "the step at which training ended, or was to end: earlier than steps after a stop",
    "is_last": "whether the checkpoint is the last of a finished run",
    "training_flops": "training FLOPs up to the checkpoint (Appendix B), curriculum counted",
    "training_flops_full_length": "the same with every step at full length: the FLOPs axis of reports",
    "score": "raw headline score on the test prompts; metric names its kind",
    "score_se": "its standard error over prompts",
    "error": "the score as an error: divided by error_scale, or 1 − accuracy",
    "error_se": "its standard error over prompts",
    "mean_error": "the error as a mean over positions, also where the headline is a mark",
    "mean_error_se": "its standard error over prompts",
    "last_error": "the error at the last position",
    "last_error_se": "its standard error over prompts",
    "selection_error": "the same as error on the validation prompts, on which learning rates are chosen",
    "selection_error_se": "its standard error over prompts",
    "validation_loss": "loss that decides which checkpoint is tested, or when the learning rate falls",
    "tested_step": "step of the model that the scores are of, if it is not that of the checkpoint",
    "convergence_step": "step of the first checkpoint at which the task counts as learned; missing if never",
    "prompts_sha256": "digest of the test prompts: runs with the same were scored on the same prompts",
    "steps_per_second": "training speed of the run's stack",
    "train_seconds": "seconds of training of the run's stack",
    "device": "the device that trained the run",
    "kernels": "the kernels' backend",
    "stack": "the stack that the run trained in",
    "stack_members": "runs in that stack",
    "processes": "processes that shared each batch",
    "peak_memory_mib": "largest device memory in MiB",
    "commit": "commit of bench, with which the run was trained",
    "torch": "version of PyTorch",
}
"""Columns of every table and their meaning. Scores are of the task's headline: a mean, or a mark."""
FURTHER = {
    "task.*": "a setting of the task, such as task.n_dims; missing for tasks without it",
    "optimizer.*": "a setting of the optimizer",
    "stop.*": "a setting of the stop rule; missing for runs that train all steps",
    "*.score": "raw headline score on another evaluation, such as clean_prompts.score",
    "*.score_se": "its standard error over prompts",
    "*.error": "that score as an error",
    "*.error_se": "its standard error over prompts",
}
"""Columns that only some results have: what a name means, where * stands for any setting or evaluation."""
COLUMNS = list(DESCRIBED)


def frame(pool: Pool) -> pd.DataFrame:
    """One row per run and checkpoint; the columns are COLUMNS, then those of FURTHER that a result has.

    Scores are raw, those of the task's headline (the mean over positions, or the mark that
    `facts.headline` names); `error` and `error_se` are normalised so that the trivial predictor of a
    regression task scores 1. `error` of an accuracy is 1 − accuracy. A run that diverged before its
    first checkpoint has one row with `step` 0 and missing scores.
    """
    import pandas as pd

    rows = [row for result in pool.runs.values() for row in _rows(result)]
    further = _further(rows)
    # Int64 keeps whole numbers whole where some are missing. FLOPs can exceed 64 bits, so they are floats.
    whole = dict.fromkeys(
        ("heads", "tested_step", "convergence_step", "stack_members", "processes", "state"), "Int64"
    )
    exact = dict.fromkeys(("training_flops", "training_flops_full_length"), "float64")
    return pd.DataFrame(rows, columns=[*COLUMNS, *further]).astype({**further, **whole, **exact})


def _further(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Columns of FURTHER and their types: settings, then evaluations. A column without any value is none."""
    kinds: dict[str, set[type]] = {}
    for row in rows:
        for name in row.keys() - DESCRIBED.keys():
            if row[name] is not None:
                kinds.setdefault(name, set()).add(type(row[name]))
    places = ("task.", "optimizer.", "stop.")

    def place(name: str) -> tuple[int, str]:
        return next((index for index, kind in enumerate(places) if name.startswith(kind)), len(places)), name

    return {name: _kind(kinds[name]) for name in sorted(kinds, key=place)}


def _kind(kinds: set[type]) -> str:
    """The type of a column whose values have these types, and which may be missing."""
    if kinds == {bool}:
        return "boolean"
    if kinds == {int}:
        return "Int64"
    return "float64" if kinds <= {int, float} else "string"


def _rows(result: RunRecord) -> Iterator[dict[str, Any]]:
    common = _of_run(result)
    if not result.checkpoints:
        yield {**common, "step": 0, "is_last": False, "training_flops": 0, "training_flops_full_length": 0}
    for checkpoint in result.checkpoints:
        yield {
            **common,
            "step": checkpoint.step,
            "is_last": result.finished and checkpoint is result.last,
            "training_flops": checkpoint.training_flops,
            "training_flops_full_length": checkpoint.training_flops_full_length,
            "validation_loss": checkpoint.validation_loss,
            "tested_step": checkpoint.tested_step,
            **_scores(result, checkpoint),
        }


def _of_run(result: RunRecord) -> dict[str, Any]:
    """The columns that all checkpoints of a run share."""
    run, facts, origin = result.run, result.facts, result.provenance
    return {
        "id": result.id,
        "outcome": result.outcome,
        "task": run.task.name,
        "task_id": facts.task_id,
        "metric": facts.metric,
        "error_scale": facts.error_scale,
        "trivial": facts.trivial,
        "n_points": facts.n_points,
        "length": facts.length,
        "headline": facts.headline,
        "architecture": run.architecture.name,
        "layers": run.size.layers,
        "width": run.size.width,
        "heads": run.size.heads,
        "size_group": facts.size_group,
        **{name: value_of(run, name) for name in SETTINGS},
        "evaluation_prompts": run.evaluation_prompts,
        "parameters": facts.parameters,
        "table_parameters": facts.table_parameters,
        "state": _state(result),
        "last_step": result.last_step,
        "convergence_step": result.convergence_step,
        "prompts_sha256": result.prompts[MAIN].sha256,
        "steps_per_second": origin.steps_per_second,
        "train_seconds": origin.train_seconds,
        "device": origin.device,
        "kernels": origin.scan,
        "stack": origin.stack.id if origin.stack else None,
        "stack_members": origin.stack.members if origin.stack else None,
        "processes": origin.processes,
        "peak_memory_mib": origin.peak_memory_mib,
        "commit": origin.commit,
        "torch": (origin.packages or {}).get("torch"),
        **_settings("task", run.task.settings),
        **_settings("optimizer", run.optimizer.settings),
        **_settings("stop", run.stop.model_dump() if run.stop else {}),
    }


def _state(result: RunRecord) -> int | None:
    """`Architecture.state_numbers` of the run, which results do not record.

    None for an architecture of a plugin that is not loaded, and for one that is defined in another way now.
    """
    recorded, size = result.run.architecture, result.run.size
    architecture = named(recorded.name)
    if architecture is None or identity(architecture) != recorded.model_dump():
        return None
    return architecture.state_numbers(size.layers, size.width, result.facts.length)


def _settings(kind: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as columns: `task.curriculum.dims.start`."""
    return {".".join((kind, *path)): value for path, value in leaves(settings)}


def _scores(result: RunRecord, checkpoint: Checkpoint) -> dict[str, float]:
    """The scores of one checkpoint."""
    row = _pair("score", headline(result, checkpoint, MAIN))
    for column, evaluation, at in (
        ("error", MAIN, "headline"),
        ("mean_error", MAIN, "mean"),
        ("last_error", MAIN, "last"),
        ("selection_error", SELECTION, "headline"),
    ):
        row |= _pair(column, error_at(result, checkpoint, evaluation, at))
    for name in checkpoint.evaluations:
        if name not in (MAIN, SELECTION):
            row |= _pair(f"{name}.score", headline(result, checkpoint, name))
            row |= _pair(f"{name}.error", error_at(result, checkpoint, name))
    return row


def _pair(column: str, value: tuple[float, float]) -> dict[str, float]:
    return {column: value[0], f"{column}_se": value[1]}
