"""Table 1's symbols by a stated rule; the paper gives words only.

The models of a task are compared by how many decades lie between a model's error and the best error of
those compared. Errors are normalised, and none counts as smaller than FLOOR: below it nothing is gained.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

PAR, GAP, STRUGGLES = "✓", "▲", "✗"
SYMBOLS = (PAR, GAP, STRUGGLES)
FLOOR = 1e-4
NEAR, FAR = 0.5, 2.0
"""Decades behind the best: fewer than NEAR are on par, FAR or more are a failure."""
ROUNDING = 1e-9
"""Of decimals: 0.1 is two decades above 0.001."""
FAILED = 0.9
"""Of the trivial predictor's error: as bad as having learned nothing."""
SOLVED, GUESSING = 0.95, 0.60
"""Mean accuracies: what counts as learned, and what as no better than guessing or copying."""
RULE = (
    f"g = log10(error / best error of the models compared), normalised errors, none below {FLOOR:g}. "
    f"{STRUGGLES}: error at least {FAILED:g} of the trivial predictor's, or g ≥ {FAR:g}; "
    f"{PAR}: g < {NEAR:g}; {GAP}: everything between. "
    f"Accuracies: {PAR} from {SOLVED:g} (mean over positions), {STRUGGLES} up to {GUESSING:g}, {GAP} between."
)


def symbol(error: float, compared: Sequence[float], *, accuracy: bool = False) -> str:
    """The symbol of one model on one task.

    Args:
        error: its normalised error (trivial: 1); 1 − accuracy for accuracies.
        compared: the errors of all models that are compared, this one among them.
        accuracy: whether the task is scored by accuracy.

    Raises:
        ValueError: when an error is not a number, or nothing is compared.
    """
    if not compared or not all(math.isfinite(each) for each in (error, *compared)):
        raise ValueError("a symbol needs numbers")
    if accuracy:
        reached = 1 - error
        return PAR if reached >= SOLVED else STRUGGLES if reached <= GUESSING else GAP
    behind = math.log10(max(error, FLOOR) / max(min(compared), FLOOR))
    if error >= FAILED or behind >= FAR - ROUNDING:
        return STRUGGLES
    return PAR if behind < NEAR - ROUNDING else GAP
