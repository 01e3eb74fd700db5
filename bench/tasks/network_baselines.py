"""A small network trained by gradient descent on the examples of one prompt, for many prompts at once.

Shapes: P prompts of N points, i examples seen, d input coordinates, h hidden units.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from bench.lazy import torch
from bench.tasks.baselines import Baseline, examples, few, summarise

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tasks.task import Prompts


def trained_networks(
    prompts: Prompts,
    steps: Sequence[int] = (100, 1000),
    width: int = 100,
    learning_rate: float = 5e-3,
    limit: int = 32,
) -> list[Baseline]:
    """Two-layer ReLU networks with biases, trained by Adam on all examples seen at once; in float32.

    Garg et al. (2022, §5) compare with such a network. One training passes through every number of
    steps, so `seconds` of a longer one includes the shorter.

    Args:
        prompts: the first `limit` are used, at no more than nine positions.
        steps: ascending numbers of Adam steps after which the network is asked; one baseline for each.
        width: h.
        learning_rate: Adam's.
        limit: prompts used.
    """
    inputs, targets = examples(prompts, limit)
    positions = few(targets.shape[1])
    said = torch.zeros(len(steps), len(targets), len(positions), dtype=torch.float64)
    seconds = [0.0] * len(steps)
    for column, seen in enumerate(positions):
        if seen == 0:
            continue
        began = time.perf_counter()
        trained = _predictions(
            inputs[:, :seen].float(), targets[:, :seen].float(), inputs[:, seen : seen + 1].float(),
            steps, width, learning_rate,
        )  # fmt: skip
        for row, predictions in enumerate(trained):
            said[row, :, column] = predictions
            seconds[row] += time.perf_counter() - began
    scores = (said - targets[:, positions]) ** 2
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


def _predictions(
    x: Tensor, y: Tensor, query: Tensor, steps: Sequence[int], width: int, learning_rate: float
) -> Iterator[Tensor]:
    """Train one network a prompt, and yield its value at the query, (P,), after each of `steps`.

    Weights and biases start as `torch.nn.Linear` draws them, uniform on ±1/√(inputs of the layer).

    Args:
        x: (P, i, d).
        y: (P, i).
        query: (P, 1, d).
        steps: ascending.
        width: h.
        learning_rate: Adam's.
    """
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int, inputs: int) -> Tensor:
        uniform = torch.rand(len(x), *shape, generator=generator) * 2 - 1
        return (uniform / math.sqrt(inputs)).requires_grad_()

    d = x.shape[2]
    first, first_bias = drawn(d, width, inputs=d), drawn(1, width, inputs=d)
    second, second_bias = drawn(width, 1, inputs=width), drawn(1, 1, inputs=width)

    def network(points: Tensor) -> Tensor:
        hidden = torch.relu(torch.baddbmm(first_bias, points, first))
        values: Tensor = torch.baddbmm(second_bias, hidden, second).squeeze(2)
        return values

    optimizer = torch.optim.Adam((first, first_bias, second, second_bias), lr=learning_rate)
    for step in range(1, max(steps) + 1):
        optimizer.zero_grad()
        # A mean over a prompt's examples, a sum over prompts: each network trains as if alone.
        loss: Tensor = (network(x) - y).square().mean(dim=1).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step in steps:
            with torch.no_grad():
                yield network(query).squeeze(1).to(torch.float64)
