"""The model of a run: empty, or with the run's initial values."""

from __future__ import annotations

import torch

from bench.kernels.backends import resolve
from bench.models.backbone import Model
from bench.run import Run


def new_model(run: Run, device: str, kernels: str) -> Model:
    """A model with a run's initial values on a device, in evaluation mode."""
    return initial_model(run, resolve(kernels, device)[0]).to(device).eval()


def initial_model(run: Run, backend: str) -> Model:
    """A model with a run's initial values, on the CPU. Torch's random state there does not change."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        return build(run, backend)


def build(run: Run, backend: str = "sequential") -> Model:
    """A new model of a run, initialised from torch's current random state."""
    task = run.task
    return Model(
        run.architecture,
        run.size,
        n_inputs=task.n_inputs,
        n_outputs=task.n_outputs,
        length=task.full_length,
        backend=backend,
        discrete=task.discrete,
    )
