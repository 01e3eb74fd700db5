"""Two pools of results side by side: the same runs on two machines, or of two versions of the code.

A run has the same id in both pools, so it was trained and scored on the same prompts. Its change is the
mean of the differences prompt by prompt: neither a hard set of prompts nor a single bad prompt decides it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from bench.digits import short
from bench.json_data import leaves
from bench.models.sizes import size_key
from bench.results.evaluations import error_at, prompt_errors
from bench.results.record import MAIN, RecordedRun, RunRecord
from bench.results.store import Pool
from bench.run import SETTINGS
from bench.uncertainty import student_95

Word = Literal["same", "better", "worse", "not comparable"]


@dataclass(frozen=True)
class Comparison:
    """One run of both pools.

    Attributes:
        settings: every setting of the run as text, by name: task, architecture, size, those of training, and
            the task's own fields (`task.n_dims`).
        before: normalised headline error at the last checkpoint (1 − accuracy); None when it diverged.
        after: the same of the other pool.
        change: after − before.
        half_width: half of the change's 90 % interval over paired prompts; None when prompts are not paired.
        word: the judgement.
        reason: why the run is not comparable, or which outcome changed; "" otherwise.
    """

    id: str
    settings: Mapping[str, str]
    before: float | None
    after: float | None
    change: float | None
    half_width: float | None
    word: Word
    reason: str


def compare(before: Pool, after: Pool, tolerance: float) -> list[Comparison]:
    """Every run that both pools have a result of, in the order of their settings.

    Args:
        before: what to compare with.
        after: what is judged.
        tolerance: a change counts when its interval excludes zero and it is more than this fraction of
            the error before; without an interval, the fraction alone decides.
    """
    shared = [key for key in before.runs if key in after.runs]
    comparisons = [_comparison(before.runs[key], after.runs[key], tolerance) for key in shared]
    return sorted(comparisons, key=lambda comparison: list(comparison.settings.items()))


def differing(comparisons: Sequence[Comparison]) -> list[str]:
    """The names of the settings in which the compared runs differ, in the order of `Comparison.settings`."""
    values: dict[str, set[str | None]] = {}
    names = dict.fromkeys(name for comparison in comparisons for name in comparison.settings)
    for name in names:
        values[name] = {comparison.settings.get(name) for comparison in comparisons}
    return [name for name in names if len(values[name]) > 1]


def _comparison(old: RunRecord, new: RunRecord, tolerance: float) -> Comparison:
    settings = _settings(old)
    before, after = _error(old), _error(new)
    if before is None or after is None:
        outcomes = f"{old.outcome} before, {new.outcome} after"
        unchanged = before is None and after is None
        word: Word = "same" if unchanged else "worse" if after is None else "better"
        return Comparison(old.id, settings, before, after, None, None, word, outcomes)
    if old.prompts[MAIN].sha256 != new.prompts[MAIN].sha256:
        reason = "scored on different prompts"
        return Comparison(old.id, settings, before, after, None, None, "not comparable", reason)
    change, half_width = _paired(old, new)
    if change is None:
        change = after - before
    beyond = abs(change) > tolerance * abs(before) and abs(change) > (half_width or 0.0)
    word = "same" if not beyond else "worse" if change > 0 else "better"
    return Comparison(old.id, settings, before, after, change, half_width, word, "")


def _error(result: RunRecord) -> float | None:
    if not result.finished or result.last is None:
        return None
    return error_at(result, result.last, MAIN)[0]


def _paired(old: RunRecord, new: RunRecord) -> tuple[float | None, float | None]:
    """Mean difference over prompts and half of its 90 % interval; None where the prompts differ in number."""
    before, after = prompt_errors(old), prompt_errors(new)
    if before is None or after is None or len(before) != len(after) or len(before) < 2:
        return None, None
    differences = after - before
    standard_error = float(differences.std(ddof=1)) / math.sqrt(len(before))
    return float(differences.mean()), float(student_95(len(before) - 1)) * standard_error


def _settings(result: RunRecord) -> dict[str, str]:
    """Every setting of a run as text: first those that every run has, then the fields of its task."""
    run = result.run
    settings = {
        "task": run.task.name,
        "architecture": run.architecture.name,
        "size": size_key(run.size),
    }
    if run.size.heads is not None:
        settings["heads"] = str(run.size.heads)
    for name in SETTINGS:
        settings |= {".".join((name, *path)): _text(value) for path, value in leaves(_plain(run, name))}
    settings["evaluation_prompts"] = str(run.evaluation_prompts)
    fields = run.task.model_dump(mode="json")
    return settings | {
        ".".join(("task", *path)): _text(value) for path, value in leaves(fields) if path != ("name",)
    }


def _plain(run: RecordedRun, name: str) -> Any:
    value = getattr(run, name)
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


def _text(value: Any) -> str:
    return "none" if value is None else short(value) if isinstance(value, float) else str(value)
