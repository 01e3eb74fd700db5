"""Table 1's symbols by a stated rule. The paper describes them in words only.

A model is judged by the decades between its error and the lowest error of the models compared on the task.
Errors are normalised. An error below FLOOR counts as FLOOR.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

PAR, GAP, STRUGGLES = "✓", "▲", "✗"
SYMBOLS = (PAR, GAP, STRUGGLES)
FLOOR = 1e-4
NEAR, FAR = 0.5, 2.0
"""Decades between an error and the lowest error: below NEAR is on par, FAR or more is a failure."""
ROUNDING = 1e-9
"""Tolerance for the rounding of decimals: 0.1 is exactly two decades above 0.001."""
FAILED = 0.9
"""Share of the trivial predictor's error from which a model counts as having learned nothing."""
SOLVED, GUESSING = 0.95, 0.60
"""Mean accuracies from which a task counts as learned, and up to which it counts as guessed or copied."""
RULE = (
    f"g = log10(error / best error of the models compared), normalised errors, none below {FLOOR:g}. "
    f"{STRUGGLES}: error at least {FAILED:g} of the trivial predictor's, or g ≥ {FAR:g}; "
    f"{PAR}: g < {NEAR:g}; {GAP}: everything between. "
    f"Accuracies: {PAR} from {SOLVED:g} (mean over positions), {STRUGGLES} up to {GUESSING:g}, {GAP} between."
)


def symbol(error: float, compared: Sequence[float], *, accuracy: bool = False) -> str:
    """Return the symbol of a model on a task.

    Args:
        error: its normalised error (trivial: 1); 1 − accuracy for accuracies.
        compared: the errors of all models that are compared, this model included.
        accuracy: whether the task is scored by accuracy.

    Raises:
        ValueError: when an error is not finite, or no model is compared.
    """
    if not compared or not all(math.isfinite(value) for value in (error, *compared)):
        raise ValueError("a symbol needs finite errors")
    if accuracy:
        reached = 1 - error
        return PAR if reached >= SOLVED else STRUGGLES if reached <= GUESSING else GAP
    behind = math.log10(max(error, FLOOR) / max(min(compared), FLOOR))
    if error >= FAILED or behind >= FAR - ROUNDING:
        return STRUGGLES
    return PAR if behind < NEAR - ROUNDING else GAP
