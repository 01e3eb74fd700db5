"""Up to which position a model is accurate: its horizon.

The horizon is the number of positions up to the last one whose accuracy is at least HORIZON_ACCURACY. Earlier
positions may be less accurate: attention without a first token does not know how often a prompt has repeated
its first element. On longer prompts the positions of the main evaluation come first, because models are
causal. Where positions were left out, the horizon ends at a position that was kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from bench.results.evaluations import independent_prompts, metric, positions
from bench.results.record import MAIN, Checkpoint, RunRecord
from bench.tasks.task import LONGER
from bench.uncertainty import Steps

HORIZON_ACCURACY = 0.9
"""Lowest accuracy of the position at which a horizon ends."""
CERTAIN = 4.0
"""Standard errors above HORIZON_ACCURACY from which a position is certainly accurate. Among 1,000 positions
of which none is, one lies so high in 3 % of all cases at most."""


def horizon(result: RunRecord, checkpoint: Checkpoint, name: str) -> Steps | None:
    """The horizon of a run on the prompts of an evaluation, and on others like them.

    Returns:
        None where the evaluation is no accuracy, or the checkpoint does not have it by position.
    """
    accuracies: dict[int, float] = {}
    answers: dict[int, int] = {}
    for part in (MAIN, LONGER) if name == LONGER else (name,):
        scores = checkpoint.evaluations.get(part)
        if scores is None or metric(result, part) != "accuracy":
            return None
        places = positions(result, part, len(scores.mean))
        accuracies |= zip(places, scores.mean, strict=True)
        answers |= dict.fromkeys(places, independent_prompts(result, part))
    return horizon_of(accuracies, answers) if accuracies else None


def horizon_of(accuracies: Mapping[int, float], answers: Mapping[int, int]) -> Steps:
    """The horizon, from 0 to all positions, by the number of standard errors by which all accuracies rise.

    A position with n answers becomes accurate if its accuracy a rises by (0.9 − a) / √(0.9 · 0.1 / n)
    standard errors. This is the error of an accuracy of 0.9 (Wilson 1927), not that of a: eight right answers
    of eight have a standard error of 0, but a model with an accuracy of 0.9 gives them in 43 % of all cases.

    As accuracies rise, the horizon ends at the last accurate position. As they fall, it ends before the first
    position that no longer is accurate, from the last certain one on (CERTAIN; without one, the most accurate
    one). Between both ends single positions are accurate by chance, and the last of many lies too far.

    Args:
        accuracies: by position, counted from 0, at least one. NaN is not accurate.
        answers: the number of independent answers that each accuracy is the mean of.
    """
    places = sorted(accuracies)
    spread = math.sqrt(HORIZON_ACCURACY * (1 - HORIZON_ACCURACY))
    needed = np.array(
        [(HORIZON_ACCURACY - accuracies[place]) * math.sqrt(answers[place]) / spread for place in places]
    )
    needed = np.where(np.isnan(needed), math.inf, needed)
    # The horizon is at least h if a position from h − 1 on is accurate.
    moves = np.minimum.accumulate(needed[::-1])[::-1]
    start = int(np.flatnonzero(needed <= max(-CERTAIN, needed.min()))[-1])
    first_lost = np.minimum(np.maximum.accumulate(needed[start:]), 0.0)
    moves[start:] = np.where(moves[start:] <= 0, first_lost, moves[start:])
    return Steps(np.array([0.0, *(1.0 + place for place in places)]), np.array([-math.inf, *moves]))
