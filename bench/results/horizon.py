"""Up to which position a model is accurate: its horizon."""

from __future__ import annotations

from bench.results.evaluations import metric, positions
from bench.results.record import MAIN, Checkpoint, RunRecord
from bench.tasks.task import LONGER

HORIZON_ACCURACY = 0.9
"""Lowest accuracy of the position at which a horizon ends."""


def horizon(result: RunRecord, checkpoint: Checkpoint, name: str) -> int | None:
    """The number of positions up to the last one whose accuracy is at least HORIZON_ACCURACY.

    Earlier positions may be less accurate: attention without a first token does not know how often a prompt
    has repeated its first element. On longer prompts the positions of the main evaluation come first, because
    models are causal. Where positions were left out, the horizon ends at a position that was kept.

    Returns:
        None where the evaluation is no accuracy, or the checkpoint does not have it.
    """
    accuracies = _accuracies(result, checkpoint, name)
    if accuracies is None:
        return None
    accurate = [position for position, accuracy in accuracies.items() if accuracy >= HORIZON_ACCURACY]
    return 1 + max(accurate, default=-1)


def horizons(result: RunRecord, checkpoint: Checkpoint, name: str) -> list[int]:
    """Every value that `horizon` can have, ascending: from 0 to all positions; empty where it has none."""
    accuracies = _accuracies(result, checkpoint, name)
    return [] if accuracies is None else [0, *(1 + position for position in sorted(accuracies))]


def horizon_unit(result: RunRecord, checkpoint: Checkpoint, name: str) -> int:
    """The distance from a horizon to the next larger one; 0 at the ends, no position and all positions."""
    values = horizons(result, checkpoint, name)
    reached = horizon(result, checkpoint, name)
    if reached is None or reached in (values[0], values[-1]):
        return 0
    return values[values.index(reached) + 1] - reached


def _accuracies(result: RunRecord, checkpoint: Checkpoint, name: str) -> dict[int, float] | None:
    """The accuracies of a horizon by position; None where the evaluation has none."""
    names = (MAIN, LONGER) if name == LONGER else (name,)
    accuracies: dict[int, float] = {}
    for part in names:
        scores = checkpoint.evaluations.get(part)
        if scores is None or metric(result, part) != "accuracy":
            return None
        accuracies |= zip(positions(result, part, len(scores.mean)), scores.mean, strict=True)
    return accuracies
