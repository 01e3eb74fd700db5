"""Reference predictors for chain-of-thought regression, where prompts show x, hidden units s, and y.

    s = relu(x W), columns of W drawn from N(0, σ²I)      y = s·v, v ~ N(0, I)

With s known, the network separates. Where a unit was active, s_j = x·w_j is a linear equation in its
weights; where it was not, x·w_j ≤ 0. And y = s·v is linear regression. W and v are independent given
the pairs, so the best prediction at a new x is the expectation of s there times that of v.

Shapes: P prompts of N points with d input coordinates and k hidden units.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from bench.lazy import torch
from bench.tasks.baselines import Baseline, Kind, double, examples, squared_errors, summarise
from bench.tasks.linear_baselines import running_least_squares

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tasks.task import Prompts

_NOISE = 1e-6
"""Of s, relative to its root mean square: above float32's rounding, far below what is scored."""


def chain_baselines(prompts: Prompts, weight_variance: float | None = None) -> list[Baseline]:
    """All baselines that use the hidden units, each with the evaluation it belongs to.

    "report": y predicted from the predictor's own ŝ. "hidden": ŝ itself, squared norm summed over units.
    "teacher_forced": y predicted from the true s.

    Args:
        prompts: `more["hidden"]` is s, (P, N, k).
        weight_variance: σ²; 2/k when None.
    """
    x, y = examples(prompts)
    s = double(prompts.more["hidden"])
    started = time.perf_counter()
    output_weights = running_least_squares(s, y, range(y.shape[1]))

    def said_from(units: Tensor) -> Tensor:
        return squared_errors((units * output_weights).sum(dim=2), y)

    forced = summarise(
        "least squares on true hidden units", "floor", said_from(s), started, evaluation="teacher_forced"
    )
    answers, units = [], []
    rules: list[tuple[str, Kind, bool]] = [
        ("expected hidden units", "floor", True),
        ("least squares for hidden units", "baseline", False),
    ]
    for name, kind, expectation in rules:
        started = time.perf_counter()
        said = predicted_hidden(x, s, expectation, weight_variance)
        units.append(summarise(name, kind, squared_errors(said, s), started, evaluation="hidden"))
        answers.append(summarise(f"{name}, then y", kind, said_from(said), started))
    return [*answers, *units, forced]


def predicted_hidden(
    inputs: Tensor, hidden: Tensor, expectation: bool, weight_variance: float | None = None
) -> Tensor:
    """Each hidden unit at each input, from the pairs before it: (P, N, k).

    Every unit's weights have a normal distribution, at first N(0, σ²I), that is conditioned on one
    pair after another. Both rules are exact once the inputs at which the unit was active span all.

    Args:
        inputs: (P, N, d), float64.
        hidden: s, (P, N, k), float64.
        expectation: True: the mean of relu(x·w). Where a unit was inactive, the distribution becomes the
            normal one with the moments of that cut at x·w ≤ 0 (assumed-density filtering: Minka 2001,
            "A family of algorithms for approximate Bayesian inference", §3.1): close to the Bayes
            rule, not equal to it. False: what a model could be constructed to do: relu(x·ŵ),
            ŵ being minimum-norm least squares on the inputs at which the unit was active.
        weight_variance: σ²; 2/k when None.
    """
    count, n_points, d = inputs.shape
    k = hidden.shape[2]
    variance = 2 / k if weight_variance is None else weight_variance
    noise = max(_NOISE**2 * float(hidden.square().mean()), 1e-30)
    mean = torch.zeros(count, k, d, dtype=inputs.dtype)
    covariance = (variance * torch.eye(d, dtype=inputs.dtype)).expand(count, k, d, d).contiguous()
    said = torch.empty_like(hidden)
    for point in range(n_points):
        x, s = inputs[:, point], hidden[:, point]
        # Of z = x·w: its mean, its covariance with w, its variance.
        centre = torch.einsum("pkd,pd->pk", mean, x)
        gain = torch.einsum("pkde,pe->pkd", covariance, x)
        width = torch.einsum("pkd,pd->pk", gain, x).clamp(min=0)
        said[:, point] = _rectified_mean(centre, width.sqrt()) if expectation else centre.clamp(min=0)
        shift, shrink = _equation(s - centre, width, noise)
        if expectation:
            below = _inequality(centre, width, noise)
            shift, shrink = torch.where(s > 0, shift, below[0]), torch.where(s > 0, shrink, below[1])
        else:
            shift, shrink = torch.where(s > 0, shift, 0.0), torch.where(s > 0, shrink, 0.0)
        mean += gain * shift.unsqueeze(-1)
        covariance -= (gain * shrink.unsqueeze(-1)).unsqueeze(-1) * gain.unsqueeze(-2)
    return said


def _equation(surprise: Tensor, width: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """How mean and covariance move, in units of the gain, when z is seen `surprise` above its mean."""
    return surprise / (width + noise), 1 / (width + noise)


def _inequality(centre: Tensor, width: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """How mean and covariance move, in units of the gain, when z ~ N(centre, width) is seen to be ≤ 0.

    With a = centre/√width and λ = φ(a)/Φ(−a) the cut distribution has mean centre − λ√width and variance
    (1 − λ(λ − a))·width. Where z is known already, to within the noise, nothing moves.
    """
    unsettled = width > 100 * noise
    deviation = torch.where(unsettled, width, 1.0).sqrt()
    a = (centre / deviation).clamp(-30, 30)
    ratio = torch.exp(-a.square() / 2 - 0.5 * math.log(2 * math.pi) - torch.special.log_ndtr(-a))
    shift, shrink = -ratio / deviation, ratio * (ratio - a) / deviation.square()
    return torch.where(unsettled, shift, 0.0), torch.where(unsettled, shrink, 0.0)


def _rectified_mean(centre: Tensor, deviation: Tensor) -> Tensor:
    """The mean of relu(z), z ~ N(centre, deviation²): centre·Φ(a) + deviation·φ(a), a = centre/deviation."""
    a = centre / deviation.clamp(min=1e-300)
    density = torch.exp(-a.square() / 2) / math.sqrt(2 * math.pi)
    expectation: Tensor = centre * torch.special.ndtr(a) + deviation * density
    return expectation
