"""Train the same model with every kernel backend, alone and in a stack, and compare the losses.

Training amplifies rounding errors, so the losses of two correct backends drift apart. The losses of one
backend drift in the same way after a one-ulp change of its initial weights. This drift of the reference is
the yardstick: over the first hundred steps, a backend may differ from the reference by at most `SLACK`
yardsticks. So may a member of a stack from the same run alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from bench.kernels import backends
from bench.kernels.self_test import largest
from bench.models.architectures import ARCHITECTURES
from bench.models.sizes import Size
from bench.run import Run
from bench.stack import Stack
from bench.tasks.regression import LinearRegression
from bench.train.loop import TrainingOptions, prepared_state
from bench.train.state import State
from bench.train.torch_settings import restoring_settings

TRAINED: dict[str, dict[str, float]] = {"mamba": {}, "s4_mamba": {"dropout": 0.0}, "s4": {}}
"""Architectures and their options. Together they use every sequence kernel. No dropout: its draws differ."""
BATCH = {"cuda": 64, "cpu": 4}
"""Prompts per step, by the kind of the device."""
COMPARED_STEPS = 100
"""Differences count in the first so many steps. Later, rounding errors have grown into other trainings."""
SLACK = 10.0
"""Yardsticks by which a backend may differ."""
HALF_ULP = 2.0**-24
"""Half a unit in the last place (ulp) of a float32 in [1, 2)."""
COMPANIONS: tuple[dict[str, float], ...] = ({"learning_rate": 5e-4}, {"seed": 1}, {"seed": 1, "clip": 1.0})
"""Fields of the other members of the compared stack that differ from the run's."""


@dataclass(frozen=True)
class Agreement:
    """A backend's training of an architecture, compared with the reference's.

    Attributes:
        architecture: name of the architecture.
        backend: name of the backend; "reference, perturbed" is the yardstick. "…, stack of 4" compares a
            member of such a stack.
        difference: largest relative difference of a step's loss over the first `COMPARED_STEPS` steps.
        loss: mean training loss of the last `COMPARED_STEPS` steps; None for the yardstick, which ends early.
        steps_per_second: speed of the whole training.
        agrees: whether the difference is at most `SLACK` yardsticks; None for the reference and the
            yardstick.
        unavailable: why the backend could not be trained; the numbers are then None.
    """

    architecture: str
    backend: str
    difference: float | None = None
    loss: float | None = None
    steps_per_second: float | None = None
    agrees: bool | None = None
    unavailable: str | None = None


def compare(device: torch.device, steps: int) -> Iterator[Agreement]:
    """Train each architecture of `TRAINED` with every backend: linear regression, 2 layers of width 64."""
    for name, options in TRAINED.items():
        run = _run(name, options, steps, BATCH[device.type])
        expected, speed = training_losses(run, device, "reference")
        yield Agreement(name, "reference", None, _final_loss(expected), speed)
        perturbed, speed = training_losses(run, device, "reference", perturbed=True)
        yardstick = largest_difference(perturbed, expected)
        yield Agreement(name, "reference, perturbed", yardstick, None, speed)
        for backend in backends.NAMES:
            if backend == "reference":
                continue
            if why := backends.unavailable(backend, str(device)):
                yield Agreement(name, backend, unavailable=why)
                continue
            losses, speed = training_losses(run, device, backend)
            yield _agreement(name, backend, losses, expected, speed, yardstick)
            stack = stack_with_companions(run)
            by_member, speed = stack_losses(stack, device, backend)
            losses = by_member[stack.members.index(run)]
            yield _agreement(name, f"{backend}, stack of {len(stack)}", losses, expected, speed, yardstick)


def stack_with_companions(run: Run) -> Stack:
    """A stack of the run and three others of its shape."""
    return Stack.of(run, *(run.model_copy(update=fields) for fields in COMPANIONS))


def _agreement(
    architecture: str,
    backend: str,
    losses: list[float],
    expected: list[float],
    speed: float,
    yardstick: float,
) -> Agreement:
    difference = largest_difference(losses, expected)
    return Agreement(
        architecture, backend, difference, _final_loss(losses), speed, difference <= SLACK * yardstick
    )


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
    run: Run, device: torch.device, backend: str, perturbed: bool = False
) -> tuple[list[float], float]:
    """The training losses of a run that trains alone, and steps per second (see `stack_losses`)."""
    members, speed = stack_losses(Stack.of(run), device, backend, perturbed)
    return members[0], speed


def stack_losses(
    stack: Stack, device: torch.device, backend: str, perturbed: bool = False
) -> tuple[list[list[float]], float]:
    """Train a stack without evaluating it.

    Args:
        stack: the runs.
        device: device of the training.
        backend: name of the kernels' backend.
        perturbed: whether to change every initial weight by about an ulp. Only the first `COMPARED_STEPS`
            steps are then trained.

    Returns:
        For each member the training loss of every step, and steps per second.
    """
    with restoring_settings(device):
        options = TrainingOptions(device, backend)
        state = prepared_state(stack, options)
        if perturbed:
            _perturb(state)
        step = options.step(state)
        losses, began = [], time.perf_counter()
        steps = min(stack.first.steps, COMPARED_STEPS) if perturbed else stack.first.steps
        for _ in range(steps):
            step()
            losses.append(state.meters.loss_sum.tolist())
            state.meters.reset()
        speed = steps / (time.perf_counter() - began)
    return [list(member) for member in zip(*losses, strict=True)], speed


def _perturb(state: State) -> None:
    """Change every weight by about one ulp, up or down at random."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in state.parameters.leaves:
            sign = torch.randint(0, 2, parameter.shape, generator=generator).to(parameter.device) * 2 - 1
            parameter.mul_(1 + sign.to(torch.float64) * 2 * HALF_ULP)


def largest_difference(losses: list[float], expected: list[float]) -> float:
    """Largest relative difference of a step's loss over the first `COMPARED_STEPS` steps.

    NaN where any of these losses is NaN.
    """
    pairs = zip(losses[:COMPARED_STEPS], expected[:COMPARED_STEPS], strict=True)
    return largest(abs(loss - exact) / abs(exact) for loss, exact in pairs)


def _final_loss(losses: list[float]) -> float:
    """Mean loss of the last `COMPARED_STEPS` steps."""
    last = losses[-COMPARED_STEPS:]
    return sum(last) / len(last)
