"""Settings of the whole process that training changes: precision, determinism, random generators."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from bench.kernels import product
from bench.run import Run
from bench.train.randomness import random_states, restore_random_states


def configure(run: Run, device: torch.device) -> None:
    """Set precision and determinism for the whole process."""
    product.use(run.precision)
    torch.backends.cudnn.allow_tf32 = False
    # `torch.use_deterministic_algorithms` does the same but imports the compiler, which takes seconds.
    torch.set_deterministic_debug_mode("error" if device.type == "cuda" else "default")
    # In deterministic mode PyTorch fills every new tensor by default. No kernel reads memory that was not
    # written, so the fills would only add launches to every step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


@contextlib.contextmanager
def restoring_settings(device: torch.device) -> Iterator[None]:
    """Leave what `configure` changes as it was, and every random generator.

    Training seeds the generators of Python and NumPy too. A search that draws learning rates from them would
    otherwise draw the same one after every run.
    """
    settings: Any = torch.utils.deterministic
    mode, filled = torch.get_deterministic_debug_mode(), settings.fill_uninitialized_memory
    tf32 = torch.backends.cudnn.allow_tf32
    states = random_states(device)
    with product.precision(product.current().name):
        try:
            yield
        finally:
            restore_random_states(states, device)
            torch.set_deterministic_debug_mode(mode)
            settings.fill_uninitialized_memory = filled
            torch.backends.cudnn.allow_tf32 = tf32
