"""Baselines for linear functions of few coordinates.

Shapes: P prompts of N points with d input coordinates; S supports of k coordinates.
"""

from __future__ import annotations

import itertools
import math
import time
from typing import TYPE_CHECKING

from bench.lazy import torch
from bench.tasks.baselines import Baseline, examples, spread_positions, summarise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from bench.tasks.task import Prompts

MOST_SUPPORTS = 20_000
"""With more subsets of coordinates than this, predictors that enumerate them are left out."""
LASSO_TOLERANCE = 1e-9
"""Largest violation of the conditions of optimality, relative to the largest |m|."""
BAYES_PROMPTS, BAYES_PAIRS = 1280, 1_500_000
"""Most prompts of the Bayes rule, and most pairs of a prompt and a support: more would take minutes."""


def lasso(prompts: Prompts, penalties: Sequence[float]) -> list[Baseline]:
    """Lasso: the minimum of ‖y − Xw‖²/(2i) + α‖w‖₁ for each penalty α, exact, at all positions.

    One path of solutions serves every α, so each baseline's `seconds` are those of all.

    Args:
        prompts: the prompts to predict.
        penalties: values of α.

    Raises:
        ArithmeticError: a solution does not satisfy the conditions of optimality.
    """
    started = time.perf_counter()
    inputs, targets = examples(prompts)
    positions = spread_positions(targets.shape[1])
    scores = (targets[:, positions] ** 2).repeat(len(penalties), 1, 1)
    for column, seen in enumerate(positions):
        if seen == 0:
            continue
        x, y = inputs[:, :seen], targets[:, :seen]
        weights = lasso_weights(x.mT @ x / seen, (x.mT @ y.unsqueeze(-1)).squeeze(-1) / seen, penalties)
        scores[:, :, column] = (targets[:, seen] - (weights * inputs[:, seen]).sum(dim=2)) ** 2
    return [
        summarise(f"lasso (α = {alpha:g})", "baseline", of_alpha, started, positions)
        for alpha, of_alpha in zip(penalties, scores, strict=True)
    ]


def lasso_weights(grams: Tensor, moments: Tensor, penalties: Sequence[float]) -> Tensor:
    """The minimiser of ½ wᵀGw − w·m + α‖w‖₁ for a batch of G (B, d, d) and m (B, d): (penalties, B, d).

    The path of solutions is exact, except where several coordinates join it at once, as with inputs of few
    distinct values. Coordinate descent solves those problems. Either way the result is checked:
    `violations` are at most `LASSO_TOLERANCE` of max |m|.

    Raises:
        ArithmeticError: they are larger after 100,000 passes of coordinate descent.
    """
    solutions = _lasso_path(grams, moments, penalties)
    allowed = LASSO_TOLERANCE * moments.abs().amax(dim=1)
    for alpha, weights in zip(penalties, solutions, strict=True):
        wrong = ~(violations(grams, moments, weights, alpha) <= allowed)  # also where they are not numbers
        if bool(wrong.any()):
            weights[wrong] = _coordinate_descent(grams[wrong], moments[wrong], alpha, allowed[wrong])
    return solutions


def violations(grams: Tensor, moments: Tensor, weights: Tensor, alpha: float) -> Tensor:
    """By how much weights (B, d) violate the Lasso's conditions of optimality (Karush–Kuhn–Tucker): (B,).

    With c = m − Gw they are c_j = α sign(w_j) where w_j ≠ 0, and |c_j| ≤ α elsewhere.
    """
    slopes = moments - (grams @ weights.unsqueeze(-1)).squeeze(-1)
    active = (slopes - alpha * torch.sign(weights)).abs()
    violation: Tensor = torch.where(weights != 0, active, (slopes.abs() - alpha).clamp(min=0)).amax(dim=1)
    return violation


def _lasso_path(grams: Tensor, moments: Tensor, penalties: Sequence[float]) -> Tensor:
    """Solutions along the path of falling penalties (Osborne et al. 2000; Efron et al. 2004, §3.1).

    Between events the signs of the weights are fixed, and the weights of active coordinates A are linear in
    the penalty λ: w = G_AA⁻¹(m_A − λ s_A). At an event a coordinate leaves, because its weight reaches zero,
    or joins, because |m − Gw|_j reaches λ. Problems that need more than 20 d events are left unsolved.

    Args:
        grams: G, (B, d, d).
        moments: m, (B, d).
        penalties: values of λ at which the solution is recorded.

    Returns:
        (penalties, B, d).
    """
    d, lowest = moments.shape[1], min(penalties)
    solutions = torch.zeros(len(penalties), *moments.shape, dtype=moments.dtype)
    top, first = moments.abs().max(dim=1)  # from here on all weights are zero
    problems = (top > lowest).nonzero().flatten()
    gram, moment, penalty, first = grams[problems], moments[problems], top[problems], first[problems]
    joined = torch.nn.functional.one_hot(first, d).bool()  # the coordinate that joined at the last event
    left = torch.zeros_like(moment)  # the sign of the coordinate that left at the last event
    signs = torch.where(joined, torch.sign(moment), 0.0)
    eye = torch.eye(d, dtype=moments.dtype)
    for _ in range(20 * d):
        if not len(problems):
            break
        active = signs != 0
        system = torch.where(active.unsqueeze(2) & active.unsqueeze(1), gram, eye)
        values = torch.stack((torch.where(active, moment, 0.0), signs), dim=2)
        solved = torch.cholesky_solve(values, torch.linalg.cholesky_ex(system).L)
        offset, slope = solved.unbind(dim=2)  # w = offset − λ slope
        image = gram @ solved
        base, rate = moment - image[..., 0], image[..., 1]  # m − Gw = base + λ rate
        now = penalty.unsqueeze(1)
        # The coordinate of the last event meets its condition at λ = now, and does not meet it again.
        leaves = offset / slope
        leaves = torch.where(active & ~joined & (leaves > 0) & (leaves <= now), leaves, 0.0)
        events = [leaves]
        for sign in (1.0, -1.0):
            gap = 1 - sign * rate
            joins = (sign * base / gap).minimum(now)
            events.append(torch.where(~active & (left != sign) & (gap > 1e-12), joins, 0.0))
        following, event = torch.cat(events, dim=1).max(dim=1)
        for k, alpha in enumerate(penalties):
            within = (following <= alpha) & (alpha < penalty)
            solutions[k, problems[within]] = (offset - alpha * slope)[within]
        kind, coordinate = (event // d).unsqueeze(1), torch.nn.functional.one_hot(event % d, d).bool()
        left = torch.where(coordinate & (kind == 0), signs, 0.0)
        joined = coordinate & (kind > 0)
        signs = torch.where(coordinate, (kind == 1).double() - (kind == 2).double(), signs)
        rest = following > lowest
        problems, gram, moment, penalty = problems[rest], gram[rest], moment[rest], following[rest]
        signs, left, joined = signs[rest], left[rest], joined[rest]
    return solutions


def _coordinate_descent(grams: Tensor, moments: Tensor, alpha: float, allowed: Tensor) -> Tensor:
    """The minimiser of ½ wᵀGw − w·m + α‖w‖₁ for a batch of G (B, d, d) and m (B, d): (B, d).

    Args:
        grams: G.
        moments: m.
        alpha: α.
        allowed: largest `violations`, (B,).

    Raises:
        ArithmeticError: 100,000 passes over the coordinates are not enough.
    """
    weights = torch.zeros_like(moments)
    active = torch.arange(len(moments))  # the problems that are not solved
    for _ in range(100_000):
        gram, moment, current = grams[active], moments[active], weights[active]
        for j in range(moments.shape[1]):
            diagonal = gram[:, j, j]
            slope = moment[:, j] - (gram[:, j] * current).sum(dim=1) + diagonal * current[:, j]
            shrunk = torch.sign(slope) * (slope.abs() - alpha).clamp(min=0)
            current[:, j] = torch.where(diagonal > 0, shrunk / diagonal.clamp(min=1e-300), 0.0)
        weights[active] = current
        active = active[violations(gram, moment, current, alpha) > allowed[active]]
        if not len(active):
            return weights
    raise ArithmeticError(f"the Lasso with α = {alpha:g} has not converged on {len(active)} prompts")


def sparse_bayes(prompts: Prompts, sparsity: int) -> Baseline | None:
    """The Bayes rule for w with `sparsity` non-zero coordinates N(0, 1): every support is enumerated.

    Given support s, the examples are y ~ N(0, X_s X_sᵀ + σ²I), where σ is the rounding of y to float32.
    This density is the evidence of a support at every position. If i ≤ k, all supports fit and the evidence
    ranks them. If i > k, the evidence of wrong supports is smaller by many orders of magnitude. The
    prediction is the mean of the supports' posterior means, weighted by evidence. From 2k examples on, only
    the 16 likeliest supports are used: the residuals of the others, in k dimensions, are far larger than σ.

    Args:
        prompts: the first `BAYES_PROMPTS` are used, or fewer if there are many supports.
        sparsity: k.

    Returns:
        None when there are more than `MOST_SUPPORTS` supports.
    """
    started = time.perf_counter()
    d = prompts.inputs.shape[2]
    if math.comb(d, sparsity) > MOST_SUPPORTS:
        return None
    inputs, targets = examples(prompts, min(BAYES_PROMPTS, BAYES_PAIRS // math.comb(d, sparsity)))
    count, n_points = targets.shape
    all_supports = torch.tensor(list(itertools.combinations(range(d), sparsity)))
    noise = max(2.0**-23 * float(targets.square().mean().sqrt()), 1e-30)
    scores = targets**2
    chunk = max(1, 300_000 // len(all_supports))
    for first in range(0, count, chunk):
        x, y = inputs[first : first + chunk], targets[first : first + chunk]
        supports = all_supports.expand(len(x), -1, -1)
        for i in range(1, n_points):
            evidence, weights = _supported(x[:, :i], y[:, :i], supports, noise)
            mean = (evidence.softmax(dim=1).unsqueeze(1) @ weights).squeeze(1)
            scores[first : first + chunk, i] = (y[:, i] - (mean * x[:, i]).sum(dim=1)) ** 2
            if i == 2 * sparsity and supports.shape[1] > 16:
                likeliest = evidence.topk(16, dim=1).indices.unsqueeze(-1).expand(-1, -1, sparsity)
                supports = supports.gather(1, likeliest)
    return summarise("Bayes rule over supports", "floor", scores, started)


def _supported(x: Tensor, y: Tensor, supports: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """Log evidence (P, S), up to a constant, and posterior mean weights (P, S, d) of each support.

    The posterior mean is least squares on the rows of X_s and σI with values y and 0. The QR factorisation
    of those rows is also accurate for i < k, where normal equations are not.

    Args:
        x: (P, i, d) earlier inputs.
        y: (P, i) their values.
        supports: (P, S, k) coordinates.
        noise: σ.
    """
    (count, seen, d), (n_supports, k) = x.shape, supports.shape[1:]
    columns = supports.reshape(count, 1, -1).expand(-1, seen, -1)
    rows = x.gather(2, columns).view(count, seen, n_supports, k).transpose(1, 2)
    prior = (noise * torch.eye(k, dtype=x.dtype)).expand(count, n_supports, k, k)
    matrix = torch.cat((rows, prior), dim=2)
    values = torch.cat((y, torch.zeros(count, k, dtype=x.dtype)), dim=1)[:, None, :, None]
    q, r = torch.linalg.qr(matrix)
    weights = torch.linalg.solve_triangular(r, q.mT @ values, upper=True)
    misfit = (values - matrix @ weights).squeeze(-1).square().sum(dim=2) / noise**2
    log_volume = r.diagonal(dim1=2, dim2=3).abs().log().sum(dim=2)
    full = torch.zeros(count, n_supports, d, dtype=x.dtype)
    return -0.5 * misfit - log_volume, full.scatter_(2, supports, weights.squeeze(-1))
