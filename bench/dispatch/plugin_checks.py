"""Check plugins before training and record where they came from."""

from __future__ import annotations

from typing import Any

from bench import plugins
from bench.models.architecture import Architecture
from bench.models.sizes import Size
from bench.results.facts import facts_fault
from bench.run import Run
from bench.tasks import Task


class NotComparable(Exception):
    """A plugin's architecture or task whose results could not be compared with those of others.

    The architecture is not causal, or has another size than it states; or the task has wrong facts, or draws
    prompts of other shapes than it states, or other prompts each time.
    """


_FAULTS: dict[tuple[str, Size, int, str, str], str | None] = {}
"""Faults by settings. An architecture is checked once per process, not for every learning rate and seed."""


def check_plugins(run: Run, device: str, kernels: str) -> None:
    """Refuse a plugin's task and a plugin's architecture whose results could not be compared.

    Built-in ones are not checked.

    Raises:
        NotComparable: one of them is such a task or architecture.
    """
    origins = plugins.origins(run.task, run.architecture)
    if any("task" in origin for origin in origins) and (
        fault := facts_fault(run.task) or _prompts_fault(run.task)
    ):
        raise NotComparable(f"task '{run.task.name}': {fault}")
    if any("architecture" in origin for origin in origins):
        _check_architecture(run, device, kernels)


def _prompts_fault(task: Task) -> str | None:
    """Why models cannot be trained or compared on the task's prompts; None if they can.

    The shapes must be those that the task states, and two draws of one seed must be equal.
    """
    first, second = task.draw_prompts(2), task.draw_prompts(2)
    width = task.n_inputs if isinstance(task.n_inputs, int) else max(task.n_inputs)
    tokens = (2, task.full_length) if task.discrete else (2, task.full_length, width)
    if (shape := tuple(first.tokens.shape)) != tokens:
        return f"two prompts have tokens of the shape {shape}, but `length` and `n_inputs` state {tokens}"
    if (shape := tuple(first.targets.shape))[:2] != (2, task.n_points):
        return f"two prompts have targets of the shape {shape}, but n_points is {task.n_points}"
    if not (first.tokens.equal(second.tokens) and first.targets.equal(second.targets)):
        return "prompts of one seed differ when they are drawn again: take all random numbers from `draws`"
    return None


def _check_architecture(run: Run, device: str, kernels: str) -> None:
    length = run.task.full_length
    settings = (run.architecture.model_dump_json(), run.size, length, device, kernels)
    if settings not in _FAULTS:
        import torch

        from bench.models.verification import fault

        _FAULTS[settings] = fault(run.architecture, run.size, length, torch.device(device), kernels)
    if problem := _FAULTS[settings]:
        raise NotComparable(f"architecture '{run.architecture.name}': {problem}")


def record_plugins(result: dict[str, Any], task: Task, architecture: Architecture | None = None) -> None:
    """Write into a result's provenance which plugins it depends on, if any."""
    if origins := plugins.origins(task, architecture):
        result["provenance"]["plugins"] = origins
