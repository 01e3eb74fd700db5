"""Baselines for chain-of-thought regression, where prompts show x, hidden units s, and y.

    s = relu(x W), columns of W drawn from N(0, 2/k I)      y = s·v, v ~ N(0, I)

The prompt shows s, so the layers separate. If a unit is active, s_j = x·w_j is a linear equation in its
weights. If it is not, x·w_j ≤ 0. The second layer, y = s·v, is linear regression. W and v are independent
given the pairs. The best prediction at a new x is therefore the expectation of s times that of v.

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
"""Noise of s relative to its root mean square: above the rounding of float32, far below the scores."""


def chain_baselines(prompts: Prompts) -> list[Baseline]:
    """All baselines that use the hidden units, each with its evaluation.

    "report": y from the predicted ŝ. "hidden": ŝ itself, squared errors summed over units.
    "teacher_forced": y from the true s.

    Args:
        prompts: `more["hidden"]` is s, (P, N, k).
    """
    x, y = examples(prompts)
    s = double(prompts.more["hidden"])
    started = time.perf_counter()
    output_weights = running_least_squares(s, y, range(y.shape[1]))

    def scores_from(units: Tensor) -> Tensor:
        return squared_errors((units * output_weights).sum(dim=2), y)

    teacher_forced = summarise(
        "least squares on true hidden units", "floor", scores_from(s), started, evaluation="teacher_forced"
    )
    on_outputs, on_units = [], []
    rules: list[tuple[str, Kind, bool]] = [
        ("expected hidden units", "reference", True),
        ("least squares for hidden units", "baseline", False),
    ]
    for name, kind, expectation in rules:
        started = time.perf_counter()
        units = predicted_hidden(x, s, expectation)
        on_units.append(summarise(name, kind, squared_errors(units, s), started, evaluation="hidden"))
        on_outputs.append(summarise(f"{name}, then y", kind, scores_from(units), started))
    return [*on_outputs, *on_units, teacher_forced]


def predicted_hidden(inputs: Tensor, hidden: Tensor, expectation: bool) -> Tensor:
    """Predictions of the hidden units at each input, from the pairs before it: (P, N, k).

    The weights of a unit start with the distribution N(0, 2/k I), which is conditioned on one pair after
    another. Both rules are exact once the inputs at which the unit was active span the input space.

    Args:
        inputs: (P, N, d), float64.
        hidden: s, (P, N, k), float64.
        expectation: True: the mean of relu(x·w). Where a unit is inactive, the distribution is truncated at
            x·w ≤ 0 and replaced by the normal distribution with the same moments. This is assumed-density
            filtering (Minka 2001, "A family of algorithms for approximate Bayesian inference", §3.1). It is
            close to the Bayes rule, not equal to it. False: relu(x·ŵ), where ŵ is minimum-norm least
            squares on the inputs at which the unit was active. A model can be constructed to compute this.
    """
    count, n_points, d = inputs.shape
    k = hidden.shape[2]
    noise = max(_NOISE**2 * float(hidden.square().mean()), 1e-30)
    mean = torch.zeros(count, k, d, dtype=inputs.dtype)
    covariance = (2 / k * torch.eye(d, dtype=inputs.dtype)).expand(count, k, d, d).contiguous()
    predictions = torch.empty_like(hidden)
    for point in range(n_points):
        x, s = inputs[:, point], hidden[:, point]
        # With z = x·w: the mean of z, its covariance with w, and its variance.
        centre = torch.einsum("pkd,pd->pk", mean, x)
        gain = torch.einsum("pkde,pe->pkd", covariance, x)
        width = torch.einsum("pkd,pd->pk", gain, x).clamp(min=0)
        predictions[:, point] = _rectified_mean(centre, width.sqrt()) if expectation else centre.clamp(min=0)
        shift, shrink = _equation(s - centre, width, noise)
        if expectation:
            inactive_shift, inactive_shrink = _inequality(centre, width, noise)
            shift = torch.where(s > 0, shift, inactive_shift)
            shrink = torch.where(s > 0, shrink, inactive_shrink)
        else:
            shift, shrink = torch.where(s > 0, shift, 0.0), torch.where(s > 0, shrink, 0.0)
        mean += gain * shift.unsqueeze(-1)
        covariance -= (gain * shrink.unsqueeze(-1)).unsqueeze(-1) * gain.unsqueeze(-2)
    return predictions


def _equation(surprise: Tensor, width: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """Updates of mean and covariance, in units of the gain, when z is `surprise` above its mean."""
    return surprise / (width + noise), 1 / (width + noise)


def _inequality(centre: Tensor, width: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """Updates of mean and covariance, in units of the gain, when z ~ N(centre, width) is at most 0.

    With a = centre/√width and λ = φ(a)/Φ(−a), the truncated distribution has the mean centre − λ√width and
    the variance (1 − λ(λ − a))·width. If the variance of z is not above the noise, the updates are zero.
    """
    uncertain = width > 100 * noise
    deviation = torch.where(uncertain, width, 1.0).sqrt()
    a = (centre / deviation).clamp(-30, 30)
    ratio = torch.exp(-a.square() / 2 - 0.5 * math.log(2 * math.pi) - torch.special.log_ndtr(-a))
    shift, shrink = -ratio / deviation, ratio * (ratio - a) / deviation.square()
    return torch.where(uncertain, shift, 0.0), torch.where(uncertain, shrink, 0.0)


def _rectified_mean(centre: Tensor, deviation: Tensor) -> Tensor:
    """The mean of relu(z), z ~ N(centre, deviation²): centre·Φ(a) + deviation·φ(a), a = centre/deviation."""
    a = centre / deviation.clamp(min=1e-300)
    density = torch.exp(-a.square() / 2) / math.sqrt(2 * math.pi)
    expectation: Tensor = centre * torch.special.ndtr(a) + deviation * density
    return expectation
