"""Runs that train on a CPU in a second or two."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from bench.models.architecture import Architecture
from bench.models.architectures import ARCHITECTURES
from bench.models.sizes import Size
from bench.run import Run
from bench.tasks import TASKS
from bench.tasks.task import Prompts, Task


def small_run(architecture: Architecture | str = "transformer", **fields: Any) -> Run:
    """A run of one layer on five points of linear regression; `fields` replace its own."""
    if isinstance(architecture, str):
        architecture = ARCHITECTURES[architecture]
    values = {
        "task": TASKS["linear_regression"](n_dims=3, n_points=5),
        "size": Size(layers=1, width=16, heads=4),
        "learning_rate": 2e-3,
        "steps": 30,
        "checkpoints": (10, 30),
        "batch_size": 8,
        "evaluation_prompts": 32,
        **fields,
    }
    size = values["size"].of(architecture)
    return Run.model_validate({**values, "architecture": architecture, "size": size})


def training_loss(task: Task, outputs: Tensor, prompts: Prompts, step: Tensor) -> Tensor:
    """The mean loss of the points that count at a step, scalar."""
    total, count = task.loss_sum(outputs, prompts, step)
    return total / count.clamp(min=1.0)


def without_dropout(run: Run) -> Run:
    """The run without S4-Mamba's dropout: an eager step, a captured step and a stack draw other numbers."""
    if run.architecture.name != "s4_mamba":
        return run
    return run.model_copy(update={"architecture": run.architecture.with_options({"dropout": 0.0})})
