"""Every planned run as the page's table, filters and folds need it: one JSON value, in which what runs share
is written once.
"""

from __future__ import annotations

import json
import math
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.digits import short
from bench.json_data import leaves
from bench.report.data.scale import ScoreScale
from bench.report.text import millions
from bench.results import Pool, Provenance, RunRecord
from bench.results.evaluations import error_at, number
from bench.results.pieces import TrainedPiece, trained_pieces
from bench.results.record import MAIN, SELECTION
from bench.run import Run
from bench.words import task_name

if TYPE_CHECKING:
    from bench.suite import Suite

COLUMNS = (
    "id", "task", "family", "architecture", "series", "size", "learning_rate", "seed", "state", "score",
    "score_error", "score_label", "flops", "seconds", "steps", "parameters", "settings", "provenance",
    "plugins", "evaluated", "evaluations", "loss_steps", "loss", "scores_steps", "scores",
)  # fmt: skip
"""What the row of a run holds."""
MOST_POINTS = 24
"""Points of a run's curves on the page, where a chart is 240 pixels wide. Result files have all of them."""
ELSEWHERE = "repeated"
"""The results folder of the command that repeats a run: where its result is, the run counts as done."""


@dataclass(frozen=True)
class PageRuns:
    """The runs of a suite for its page.

    Attributes:
        suite: the suite's file, as one types it in a shell.
        rows: a row of COLUMNS per planned run.
        numbers: the same runs for scripts: the columns before settings, the clip and the optimizer.
    """

    suite: str
    rows: Sequence[Sequence[Any]]
    numbers: pd.DataFrame


def page_runs(suite: Suite, pool: Pool, plan: pd.DataFrame) -> PageRuns:
    """The runs of a suite for its page.

    Args:
        suite: what was planned.
        pool: the results.
        plan: a row of `frame.results_frame` per planned run.
    """
    planned = {run.id: run for run in suite.runs}
    rows = []
    for row in plan.to_dict("records"):
        run, result = planned[row["id"]], pool.runs.get(row["id"])
        scale = ScoreScale.of(run.task)
        score, error = _score(result, scale)
        origin = result.provenance if result else Provenance()
        values = {
            "id": run.id,
            "task": row["task"],
            "family": task_name(run.task.name),
            "architecture": run.architecture.base_name,
            "series": row["series"],
            "size": row["size"],
            "learning_rate": run.learning_rate,
            "seed": run.seed,
            "state": row["state"],
            "score": score,
            "score_error": error,
            "score_label": scale.label,
            "flops": float(row["planned_flops"]),
            "seconds": origin.train_seconds,
            "steps": result.last_step if result else run.steps,
            "parameters": millions(run.parameters),
            "settings": _settings(run),
            "provenance": [*_provenance(origin), *_pieces(result)] if result else [],
            "plugins": _plugins(origin),
        }
        values["evaluated"], values["evaluations"] = _evaluations(result)
        values["loss_steps"], values["loss"] = _losses(result)
        values["scores_steps"], values["scores"] = _scores(result, scale)
        rows.append([values[name] for name in COLUMNS])
    return PageRuns(shlex.quote(_shown_path(suite.path)), rows, _numbers(plan, rows))


def packed(runs: PageRuns) -> dict[str, Any]:
    """The runs as JSON data.

    Settings are places in a list of pairs. Losses are whole numbers (`_whole`). A column whose values repeat
    is written as a list of its different values, in `shared`, and its cells are places in this list, if that
    makes the text shorter.
    """
    columns = [[row[index] for row in runs.rows] for index in range(len(COLUMNS))]
    pairs: dict[tuple[str, str], int] = {}
    place = COLUMNS.index("settings")
    columns[place] = [
        [pairs.setdefault((label, text), len(pairs)) for label, text in settings]
        for settings in columns[place]
    ]
    place = COLUMNS.index("loss")
    columns[place] = [_whole(losses) for losses in columns[place]]
    shared: dict[str, list[Any]] = {}
    for index, name in enumerate(COLUMNS):
        different = list({_json(value): value for value in columns[index]}.values())
        places = {_json(value): place for place, value in enumerate(different)}
        cells = [places[_json(value)] for value in columns[index]]
        if len(_json(different)) + len(_json(cells)) < len(_json(columns[index])):
            shared[name], columns[index] = different, cells
    return {
        "suite": runs.suite, "results": ELSEWHERE, "columns": COLUMNS, "shared": shared,
        "pairs": list(pairs), "rows": list(zip(*columns, strict=True)),
    }  # fmt: skip


def _whole(values: Sequence[float]) -> list[int | None]:
    """The most decimal places of a value, then each value in units of the last: [2, 25, 150] is 0.25, 1.5.

    None is a value that is not finite.
    """
    decimals = [Decimal(repr(value)) if math.isfinite(value) else None for value in values]
    places = max((_places(value) for value in decimals if value is not None), default=0)
    return [places, *(None if value is None else int(value.scaleb(places)) for value in decimals)]


def _places(value: Decimal) -> int:
    """The number of digits behind the point; 0 for a whole number."""
    return len(f"{value:f}".partition(".")[2].rstrip("0"))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _numbers(plan: pd.DataFrame, rows: Sequence[Sequence[Any]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=COLUMNS).iloc[:, : COLUMNS.index("settings")]
    return table.assign(clip=plan["clip"].to_numpy(), optimizer=plan["optimizer"].to_numpy())


def _shown_path(path: Path) -> str:
    """The suite's file as one would type it in the working folder."""
    relative = os.path.relpath(path)
    return path.as_posix() if relative.startswith("..") else Path(relative).as_posix()


def _score(result: RunRecord | None, scale: ScoreScale) -> tuple[float | None, float | None]:
    """The headline on the test prompts at the end of a finished run, as it is shown, and its error."""
    if result is None or result.last is None or not result.finished:
        return None, None
    error, standard_error = error_at(result, result.last, MAIN)
    return _four(scale.score_of(error)), _four(standard_error)


def _four(value: float) -> float:
    """The value with four significant digits, which is what a page shows."""
    return _digits(value, 4)


def _digits(value: float, digits: int) -> float:
    """The value with so many significant digits. A point of a small curve needs three."""
    return float(f"{value:.{digits}g}")


def _settings(run: Run) -> list[list[str]]:
    """Label and value of every setting that affects the run's numbers, without those that have a column."""
    identity = dict(run.identity())
    for key in ("seed", "learning_rate", "size"):
        identity.pop(key, None)
    return [[" ".join(path).replace("_", " "), _text(value)] for path, value in leaves(identity)]


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {True: "yes", False: "no", None: "none"}[value]
    return short(value) if isinstance(value, float) else str(value)


def _provenance(origin: Provenance) -> list[list[str]]:
    rows = [
        ("device", origin.device),
        ("commit", origin.commit and origin.commit[:12] + (" (changed)" if origin.dirty else "")),
        ("bench", origin.bench),
        ("Python", origin.python),
        ("CUDA", origin.cuda),
        *((name, version) for name, version in sorted((origin.packages or {}).items())),
        ("selective scan", origin.scan),
        ("runs in the stack", str(origin.stack.members) if origin.stack else None),
    ]
    always = ("device", "commit")
    return [[label, value or "not recorded"] for label, value in rows if value or label in always]


def _pieces(result: RunRecord) -> list[list[str]]:
    """The steps that each process trained, with what and how; none for results without recorded kernels."""
    pieces = trained_pieces(result)
    if all(piece.backends is None for _, _, piece in pieces):
        return []
    return [[_steps(trained), _process(trained)] for trained in pieces]


def _steps(trained: TrainedPiece) -> str:
    begin = "?" if trained.from_step is None else f"{trained.from_step:,}"
    if trained.from_step is not None and trained.from_step == trained.to_step:
        return f"no step after {begin}"  # it evaluated, or what it did was lost
    return f"steps from {begin}" + ("" if trained.to_step is None else f" to {trained.to_step:,}")


def _process(trained: TrainedPiece) -> str:
    """A process that trained a part of a run, in words."""
    piece = trained.piece
    if piece.kernels is None:
        return f"{piece.device or 'device not recorded'}; code and kernels not recorded"
    by_backend: dict[str, list[str]] = {}
    for kernel, backend in (piece.backends or {}).items():
        by_backend.setdefault(backend, []).append(kernel)
    commit = piece.commit and piece.commit[:12] + (" (changed)" if piece.dirty else "")
    facts = [
        piece.device or "device not recorded",
        f"PyTorch {piece.torch or 'not recorded'}",
        f"commit {commit or 'not recorded'}",
        f"kernels {piece.kernels}",
        *(f"{', '.join(kernels)}: {backend}" for backend, kernels in by_backend.items()),
        "whole steps captured as one graph" if piece.captured else "steps not captured",
        f"{piece.members} in the stack",
    ]
    if (piece.processes or 1) > 1:
        facts.append(f"{piece.processes} processes for each batch")
    return "; ".join(facts)


def _plugins(origin: Provenance) -> list[str]:
    """Options of the command that load the plugin files that the run was trained with."""
    files = dict.fromkeys(plugin["file"] for plugin in origin.plugins or [] if "file" in plugin)
    return [f"--plugin {shlex.quote(file)}" for file in files]


def _evaluations(result: RunRecord | None) -> tuple[list[str], list[list[float | None]]]:
    """Names of evaluations, and raw scores at the last checkpoint.

    The scores of an evaluation: headline, its error, score at the last position, its error.
    """
    if result is None or result.last is None:
        return [], []
    names, rows = [], []
    for name in result.last.evaluations:
        names.append(
            {MAIN: "test prompts", SELECTION: "validation prompts"}.get(name, name.replace("_", " "))
        )
        numbers: list[float | None] = []
        for at in ("headline", "last"):
            raw = number(result, result.last, name, at)
            numbers += [None, None] if raw is None else [_four(raw[0]), _digits(raw[1], 2)]
        rows.append(numbers)
    return names, rows


def _losses(result: RunRecord | None) -> tuple[list[int], list[float]]:
    """Steps, and the training loss of the window that ends there."""
    return _thinned(result.curve.step, result.curve.loss) if result else ([], [])


def _scores(result: RunRecord | None, scale: ScoreScale) -> tuple[list[int], list[float]]:
    """Steps, and the headline on the test prompts there."""
    if result is None:
        return [], []
    errors = [error_at(result, checkpoint, MAIN)[0] for checkpoint in result.checkpoints]
    return _thinned([checkpoint.step for checkpoint in result.checkpoints], list(map(scale.score_of, errors)))


def _thinned(steps: Sequence[int], values: Sequence[float]) -> tuple[list[int], list[float]]:
    """At most MOST_POINTS of a curve's points, the last one included."""
    every = max(1, -(-len(steps) // MOST_POINTS))
    places = range(len(steps) - 1, -1, -every)
    return [steps[i] for i in reversed(places)], [_digits(values[i], 3) for i in reversed(places)]
