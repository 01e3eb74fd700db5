"""Small networks, each trained by gradient descent on the examples of one prompt, for many prompts at once.

Shapes: P prompts of N points, i examples before the query, d input coordinates, h hidden units.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from bench.lazy import torch
from bench.tasks.baselines import Baseline, examples, few_positions, summarise

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tasks.task import Prompts

TRAINED_PROMPTS = 128
"""Prompts that trained networks use: about a minute for the paper's task. All would take ten."""
LEARNING_RATE = 5e-3
"""Of Adam."""


def trained_networks(prompts: Prompts, steps: Sequence[int], width: int) -> list[Baseline]:
    """Two-layer ReLU networks with biases, trained by Adam on all earlier examples at once, in float32.

    Garg et al. (2022, §5) compare with such a network. One training serves every number of steps, so the
    `seconds` of more steps include those of fewer steps.

    Args:
        prompts: the first `TRAINED_PROMPTS` are used, at no more than nine positions.
        steps: numbers of Adam steps, ascending; one baseline for each.
        width: h.
    """
    inputs, targets = examples(prompts, TRAINED_PROMPTS)
    positions = few_positions(targets.shape[1])
    values = torch.zeros(len(steps), len(targets), len(positions), dtype=torch.float64)
    seconds = [0.0] * len(steps)
    for column, seen in enumerate(positions):
        if seen == 0:
            continue
        began = time.perf_counter()
        predictions_of_steps = _predictions(
            inputs[:, :seen].float(), targets[:, :seen].float(), inputs[:, seen : seen + 1].float(),
            steps, width,
        )  # fmt: skip
        for row, predictions in enumerate(predictions_of_steps):
            values[row, :, column] = predictions
            seconds[row] += time.perf_counter() - began
    scores = (values - targets[:, positions]) ** 2
    return [
        summarise(
            f"network of width {width}, {count} Adam steps",
            "baseline",
            scores[row],
            time.perf_counter() - seconds[row],
            positions,
        )
        for row, count in enumerate(steps)
    ]


def _predictions(x: Tensor, y: Tensor, query: Tensor, steps: Sequence[int], width: int) -> Iterator[Tensor]:
    """Train one network per prompt, and yield its value at the query, (P,), after each of `steps`.

    Weights and biases start uniform in ±1/√(inputs of the layer), as in `torch.nn.Linear`.

    Args:
        x: (P, i, d).
        y: (P, i).
        query: (P, 1, d).
        steps: ascending.
        width: h.
    """
    generator = torch.Generator().manual_seed(0)

    def initial(*shape: int, inputs: int) -> Tensor:
        uniform = torch.rand(len(x), *shape, generator=generator) * 2 - 1
        return (uniform / math.sqrt(inputs)).requires_grad_()

    d = x.shape[2]
    first, first_bias = initial(d, width, inputs=d), initial(1, width, inputs=d)
    second, second_bias = initial(width, 1, inputs=width), initial(1, 1, inputs=width)

    def network(points: Tensor) -> Tensor:
        hidden = torch.relu(torch.baddbmm(first_bias, points, first))
        values: Tensor = torch.baddbmm(second_bias, hidden, second).squeeze(2)
        return values

    optimizer = torch.optim.Adam((first, first_bias, second, second_bias), lr=LEARNING_RATE)
    for step in range(1, max(steps) + 1):
        optimizer.zero_grad()
        # The mean over examples, summed over prompts: each network trains as if it were alone.
        loss: Tensor = (network(x) - y).square().mean(dim=1).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step in steps:
            with torch.no_grad():
                yield network(query).squeeze(1).to(torch.float64)
