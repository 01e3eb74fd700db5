"""The same model trained with every kernel backend: do they learn the same?

Training amplifies the last bits: two correct backends drift apart, and so does one from itself after its
weights were moved by less than can be stored. That is the yardstick here: over the first hundred steps,
a backend may differ from the reference `SLACK` times as much as the reference from itself so moved.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from bench.kernels import backends
from bench.models.architectures import ARCHITECTURES
from bench.models.sizes import Size
from bench.run import Run
from bench.stack import Stack
from bench.tasks.regression import LinearRegression
from bench.train.loop import TrainingOptions, prepare
from bench.train.step import State

TRAINED: dict[str, dict[str, float]] = {"mamba": {}, "s4_mamba": {"dropout": 0.0}, "s4": {}}
"""Architectures that have all kernels between them, and their options: without dropout, which draws."""
BATCH = {"cuda": 64, "cpu": 4}
COMPARED_STEPS = 100
SLACK = 10.0
MOVED = 2.0**-24
"""Half a unit in the last place of a float32, relative to its value."""


@dataclass(frozen=True)
class Agreement:
    """One backend's training of one architecture, beside the reference's.

    Attributes:
        architecture: its name.
        backend: its name; "reference, moved" is the yardstick.
        difference: largest relative difference of a step's loss over the first `COMPARED_STEPS`.
        loss: mean training loss of the last `COMPARED_STEPS` steps; None of the yardstick, which ends early.
        steps_per_second: of the whole training.
        agrees: whether the difference is within `SLACK` yardsticks; None of those that measure it.
        unavailable: why it could not be trained; the numbers are then None.
    """

    architecture: str
    backend: str
    difference: float | None = None
    loss: float | None = None
    steps_per_second: float | None = None
    agrees: bool | None = None
    unavailable: str | None = None


def compare(device: torch.device, steps: int) -> Iterator[Agreement]:
    """Train each of `TRAINED` on linear regression, 2 layers of 64, with every backend."""
    for name, options in TRAINED.items():
        run = _run(name, options, steps, BATCH[device.type])
        expected, speed = training_losses(run, device, "reference")
        yield Agreement(name, "reference", None, _last(expected), speed)
        moved, speed = training_losses(run, device, "reference", moved=True)
        yardstick = _difference(moved, expected)
        yield Agreement(name, "reference, moved", yardstick, None, speed)
        for backend in backends.NAMES:
            if backend == "reference":
                continue
            if why := backends.unavailable(backend, str(device)):
                yield Agreement(name, backend, unavailable=why)
                continue
            losses, speed = training_losses(run, device, backend)
            difference = _difference(losses, expected)
            yield Agreement(name, backend, difference, _last(losses), speed, difference <= SLACK * yardstick)


def _run(name: str, options: dict[str, float], steps: int, batch_size: int) -> Run:
    architecture = ARCHITECTURES[name].with_options(options) if options else ARCHITECTURES[name]
    return Run.model_validate(
        {
            "task": LinearRegression.model_validate({}),
            "architecture": architecture,
            "size": Size(layers=2, width=64).of(architecture),
            "learning_rate": 1e-3,
            "steps": steps,
            "checkpoints": (steps,),
            "batch_size": batch_size,
        }
    )


def training_losses(
    run: Run, device: torch.device, scan: str, moved: bool = False
) -> tuple[list[float], float]:
    """The training loss of every step (of the first only, where weights are moved), and steps per second."""
    options = TrainingOptions(device, scan)
    state = prepare(Stack.of(run), options)
    if moved:
        _move(state)
    step = options.step(state)
    losses, began = [], time.perf_counter()
    steps = min(run.steps, COMPARED_STEPS) if moved else run.steps
    for _ in range(steps):
        step()
        losses.append(float(state.meters.loss_sum))
        state.meters.reset()
    return losses, steps / (time.perf_counter() - began)


def _move(state: State) -> None:
    """Change every weight by about its last bit, up or down."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in state.parameters.leaves:
            up = torch.randint(0, 2, parameter.shape, generator=generator).to(parameter.device) * 2 - 1
            parameter.mul_(1 + up.to(torch.float64) * 2 * MOVED)


def _difference(losses: list[float], expected: list[float]) -> float:
    both = zip(losses[:COMPARED_STEPS], expected[:COMPARED_STEPS], strict=True)
    return max(abs(loss - exact) / abs(exact) for loss, exact in both)


def _last(losses: list[float]) -> float:
    last = losses[-COMPARED_STEPS:]
    return sum(last) / len(last)
