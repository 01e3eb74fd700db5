"""Results on disk: one JSON file per run, one per task's baselines, in one pool whatever the suite.

The file is the record; its name is for people and is never parsed. Format 1:

    {"format": 1, "kind": "run", "id": "…", "outcome": "finished" | "diverged", "reason": null | "…",
     "run": {every field that moves the numbers},
     "facts": {"metric", "error_scale", "trivial", "n_points", "length", "task_id",
               "headline", "convergence_accuracy",
               "evaluations": {name: {"positions", "marks", "error_scale", "axis"}},
               "parameters", "table_parameters", "size_group"},
     "checkpoints": [{"step", "training_flops", "training_flops_full_length",
                      "evaluations": {"report":    {"mean": [per position], "standard_error": [per position],
                                                    "overall": [mean, standard error], "headline": […]},
                                      "selection": {"overall": [mean, standard error], "headline": […]},
                                      others of the task, as "report"}}],
     "convergence_step": step of the first checkpoint at "convergence_accuracy", or null,
     "per_prompt": {"report": base64 of float32: each prompt's headline score at the last checkpoint},
     "prompts": {"report": {"count", "sha256"}, "selection": {…}, …},
     "curve": {"step": [...], "loss": [...], "gradient_norm": [...]},
     "provenance": {where, when, how fast, with what}}

    {"format": 1, "kind": "baselines", "id": "…", "task": {…}, "facts": {…}, "prompts": {…},
     "baselines": [{"name", "kind", "evaluation", "positions", "mean", "standard_error", "prompts",
                    "seconds"}],
     "provenance": {…}}

The headline is the score that stands for a run: the mean over positions ("overall"), or the score at
one mark. Results written before it was recorded lack "headline", "convergence_step", "evaluations" and
what belongs to them: their headline is "overall", their positions are 0 … n_points − 1.

Scores are raw (`metric`: squared error, or accuracy); dividing by `error_scale`, choosing learning
rates and drawing frontiers happen when a report is made. Everything outside `provenance` is a
function of `run` on one kind of machine. Reading never writes.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.files import read_json, write_json
from bench.run import Run
from bench.tasks import Task

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

FORMAT = 1
STATE = ".state"
"""Folder, inside the results, of what a run leaves while it trains (locks, checkpoints, heartbeats), and of
measured speeds (`bench.speed.records`)."""


@dataclass
class Pool:
    """Every result under a folder.

    Attributes:
        runs: run results by run id.
        baselines: baseline results by task id.
        problems: one line per file that was left out, naming it and why.
    """

    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    baselines: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def task_facts(task: Task, task_id: str) -> dict[str, Any]:
    """What a reader of a task's scores needs, so that a report has not to draw a prompt for it."""
    return {
        "task_id": task_id,
        "metric": task.metric,
        "error_scale": task.error_scale,
        "trivial": task.trivial,
        "n_points": task.n_points,
        "length": task.length(task.n_points),
        "headline": task.headline,
        "convergence_accuracy": task.convergence_accuracy,
        "evaluations": {name: one._asdict() for name, one in task.evaluations().items()},
    }


def run_facts(run: Run) -> dict[str, Any]:
    """`task_facts`, the size's name and the parameters, with and without read-in and read-out."""
    return {
        **task_facts(run.task, run.task_id),
        "parameters": run.parameters,
        "table_parameters": run.architecture.parameters(run.size.layers, run.size.width),
        "size_group": run.size_group,
    }


def path_of(results: Path, run: Run) -> Path:
    """Where the result of `run` is written."""
    return results / run.task.name / f"{run.label}.json"


def path_of_baselines(results: Path, task_name: str, task_id: str) -> Path:
    """Where a task's baselines are written."""
    return results / task_name / f"baselines-{task_id}.json"


def store(path: Path, result: dict[str, Any]) -> None:
    """Write one result, whole or not at all."""
    write_json(path, result)


def load(results: Path, outlines: bool = False) -> Pool:
    """Read every result under `results`; files that are not results are named, never fatal.

    With `outlines`, long lists of numbers (scores by position, curves) are read as empty ones, in a third
    of the time: enough to know where runs stand, how fast they were and what they took.
    """
    pool, paths = Pool(), dict[tuple[str, str], Path]()
    for path in _files(results):
        try:
            value = read_json(path, outlines)
            complaint = _complaint(value)
            if not complaint and (first := paths.setdefault((value["kind"], value["id"]), path)) != path:
                if _numbers(read_json(first)) == _numbers(read_json(path)):
                    continue
                complaint = f"differs from another result with id {value['id']}"
        except (OSError, ValueError, RecursionError) as error:
            complaint = f"is not readable JSON ({error})"
        if complaint:
            pool.problems.append(f"{path}: {complaint}; set aside")
            continue
        (pool.runs if value["kind"] == "run" else pool.baselines)[value["id"]] = value
    return pool


def load_run(results: Path, run: Run) -> dict[str, Any] | None:
    """The result of `run` under its own file name, or None when it is absent or unusable."""
    return _load_one(path_of(results, run), run.id)


def load_baselines(results: Path, task_name: str, task_id: str) -> dict[str, Any] | None:
    """A task's baselines under their own file name, or None when they are absent or unusable."""
    return _load_one(path_of_baselines(results, task_name, task_id), task_id)


def _load_one(path: Path, identifier: str) -> dict[str, Any] | None:
    try:
        value = read_json(path)
    except (OSError, ValueError, RecursionError):
        return None
    return value if _complaint(value) is None and value["id"] == identifier else None


def per_prompt(result: dict[str, Any]) -> np.ndarray[Any, Any]:
    """Each report prompt's mean score over positions at the last checkpoint, float32 (prompts,)."""
    import numpy as np

    return np.frombuffer(base64.b64decode(result["per_prompt"]["report"]), dtype="<f4")


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


COLUMNS = [
    "id", "outcome", "task", "task_id", "architecture", "layers", "width", "heads", "size_group",
    "learning_rate", "clip", "optimizer", "batch_size", "steps", "seed", "precision", "parameters",
    "step", "training_flops", "score", "score_se", "error", "error_se", "selection_error",
    "selection_error_se", "convergence_step", "steps_per_second", "device",
]  # fmt: skip


def _rows(result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    run, facts = result["run"], result["facts"]
    common = {
        "id": result["id"],
        "outcome": result["outcome"],
        "task": run["task"]["name"],
        "task_id": facts["task_id"],
        "architecture": run["architecture"]["name"],
        **run["size"],
        "size_group": facts["size_group"],
        **{key: run[key] for key in ("learning_rate", "clip", "batch_size", "steps", "seed", "precision")},
        "optimizer": run["optimizer"]["name"],
        "parameters": facts["parameters"],
        "convergence_step": result.get("convergence_step"),
        "steps_per_second": result["provenance"].get("steps_per_second"),
        "device": result["provenance"].get("device"),
    }
    if not result["checkpoints"]:
        yield {**common, "step": 0, "training_flops": 0}
    for checkpoint in result["checkpoints"]:
        evaluations = checkpoint["evaluations"]
        report, selected = evaluations["report"], evaluations["selection"]
        score, score_se = report.get("headline", report["overall"])
        error, error_se = normalised(facts, score, score_se)
        selection, selection_se = normalised(facts, *selected.get("headline", selected["overall"]))
        yield {
            **common,
            "step": checkpoint["step"],
            "training_flops": checkpoint["training_flops"],
            "score": score,
            "score_se": score_se,
            "error": error,
            "error_se": error_se,
            "selection_error": selection,
            "selection_error_se": selection_se,
        }


def normalised(facts: dict[str, Any], score: float, standard_error: float) -> tuple[float, float]:
    """A raw score and its standard error as an error: squared error / scale, or 1 − accuracy."""
    if facts["metric"] == "accuracy":
        return 1.0 - score, standard_error
    return score / facts["error_scale"], standard_error / facts["error_scale"]


def _files(results: Path) -> list[Path]:
    return sorted(
        path
        for path in results.glob("**/*.json")
        if STATE not in path.relative_to(results).parts and not path.name.startswith(".")
    )


_RUN_KEYS = {"id", "outcome", "run", "facts", "checkpoints", "prompts", "curve", "provenance"}
_BASELINE_KEYS = {"id", "task", "facts", "prompts", "baselines", "provenance"}


def _complaint(value: Any) -> str | None:
    """Why a parsed file is not a result of ours, or None."""
    if not isinstance(value, dict) or "format" not in value or "kind" not in value:
        return "is not a result of bench"
    if value["format"] != FORMAT:
        return f"has format {value['format']!r}, this version of bench reads {FORMAT}"
    if value["kind"] not in ("run", "baselines"):
        return f"is of unknown kind {value['kind']!r}"
    missing = (_RUN_KEYS if value["kind"] == "run" else _BASELINE_KEYS) - value.keys()
    if missing:
        return f"lacks {', '.join(sorted(missing))}"
    if not isinstance(value["id"], str):
        return f"has an id that is no text: {value['id']!r}"
    if value["kind"] == "baselines":
        return None
    if value["outcome"] not in ("finished", "diverged"):
        return f"has unknown outcome {value['outcome']!r}"
    try:
        list(_rows(value))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return f"is not a whole result ({type(error).__name__}: {error})"
    return None


def _numbers(result: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key != "provenance"}
