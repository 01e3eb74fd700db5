"""Two pools of results side by side: the same runs on two machines, or of two versions of the code.

A run has the same id in both pools, so it was trained and scored on the same prompts. Its change is the
mean of the differences prompt by prompt: neither a hard set of prompts nor a single bad prompt decides it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from bench.results.evaluations import headline, normalised
from bench.results.record import MAIN, RunRecord, per_prompt
from bench.results.store import Pool

NORMAL_90 = 1.645
Word = Literal["same", "better", "worse", "not comparable"]


@dataclass(frozen=True)
class Comparison:
    """One run of both pools.

    Attributes:
        name: task, architecture, size, learning rate, clip and seed, in words.
        before: normalised headline error at the last checkpoint (1 − accuracy); None when it diverged.
        after: the same of the other pool.
        change: after − before.
        half_width: half of the change's 90 % interval over paired prompts; None when prompts are not paired.
        word: the judgement.
        reason: why the run is not comparable, or which outcome changed; "" otherwise.
    """

    id: str
    name: str
    before: float | None
    after: float | None
    change: float | None
    half_width: float | None
    word: Word
    reason: str


def compare(before: Pool, after: Pool, tolerance: float) -> list[Comparison]:
    """Every run that both pools have a result of, in the order of names.

    Args:
        before: what to compare with.
        after: what is judged.
        tolerance: a change counts when its interval excludes zero and it is more than this fraction of
            the error before; without an interval, the fraction alone decides.
    """
    shared = [key for key in before.runs if key in after.runs]
    comparisons = [_comparison(before.runs[key], after.runs[key], tolerance) for key in shared]
    return sorted(comparisons, key=lambda comparison: comparison.name)


def _comparison(old: RunRecord, new: RunRecord, tolerance: float) -> Comparison:
    name = _name(old)
    a, b = _error(old), _error(new)
    if a is None or b is None:
        ends = f"{old.outcome} before, {new.outcome} after"
        word: Word = "same" if a is None and b is None else "worse" if b is None else "better"
        return Comparison(old.id, name, a, b, None, None, word, ends)
    if old.prompts[MAIN].sha256 != new.prompts[MAIN].sha256:
        return Comparison(old.id, name, a, b, None, None, "not comparable", "scored on different prompts")
    change, half = _paired(old, new)
    if change is None:
        change = b - a
    beyond = abs(change) > tolerance * abs(a) and abs(change) > (half or 0.0)
    verdict: Word = "same" if not beyond else "worse" if change > 0 else "better"
    return Comparison(old.id, name, a, b, change, half, verdict, "")


def _error(result: RunRecord) -> float | None:
    if not result.finished or result.last is None:
        return None
    return normalised(result, MAIN, headline(result, result.last, MAIN))[0]


def _paired(old: RunRecord, new: RunRecord) -> tuple[float | None, float | None]:
    """Mean difference over prompts and half of its 90 % interval; None where the prompts differ in number."""
    before, after = per_prompt(old), per_prompt(new)
    if before.shape != after.shape or len(before) < 2:
        return None, None
    scale = -1.0 if old.facts.metric == "accuracy" else 1 / old.facts.error_scale
    differences = scale * (after.astype(float) - before.astype(float))
    return float(differences.mean()), NORMAL_90 * float(differences.std(ddof=1)) / math.sqrt(len(before))


def _name(result: RunRecord) -> str:
    run = result.run
    settings = f"lr {run.learning_rate:g}, clip {run.clip:g}, seed {run.seed}"
    return f"{run.task.name}, {run.architecture.name}, {run.size.layers}x{run.size.width}, {settings}"
