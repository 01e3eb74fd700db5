"""Table 1's symbols by a stated rule. The paper describes them in words only.

A model is judged by the excess of its error: the part of what can be learned that it has not learned. It is 0
at the task's floor and 1 for the trivial predictor. Errors themselves would not do: where no predictor can
avoid most of an error, a model that has learned little is close to a perfect one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

PAR, GAP, STRUGGLES = "✓", "▲", "✗"
SYMBOLS = (PAR, GAP, STRUGGLES)
NEAR, FAR = 0.1, 0.5
"""Distances from the lowest excess: below NEAR is on par, FAR or more is a failure."""
FAILED = 0.8
"""Excess from which a model counts as having learned nothing, whatever others have learned."""
ROUNDING = 1e-9
"""Tolerance for the rounding of decimals: 0.3 is 0.1 above 0.2."""
RULE = (
    "The excess of an error is 0 at the task's floor and 1 for the trivial predictor. "
    f"{STRUGGLES}: excess at least {FAILED:g}, or {FAR:g} above the lowest of the models compared; "
    f"{PAR}: less than {NEAR:g} above it; {GAP}: everything between."
)


def symbol(excess: float, compared: Sequence[float]) -> str:
    """Return the symbol of a model on a task.

    Args:
        excess: of its error.
        compared: the excesses of all models that are compared, this model included.

    Raises:
        ValueError: when an excess is not finite, or no model is compared.
    """
    if not compared or not all(math.isfinite(value) for value in (excess, *compared)):
        raise ValueError("a symbol needs finite excesses")
    behind = excess - min(compared)
    if excess >= FAILED or behind >= FAR - ROUNDING:
        return STRUGGLES
    return PAR if behind < NEAR - ROUNDING else GAP
