"""The state of every random generator that code on the host may draw from: Python's, NumPy's, PyTorch's.

Nothing of bench draws from Python's or NumPy's. A user's own architecture may; after a resumption it goes on
with the same numbers only if their states are part of the checkpoint.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def seed_random(seed: int) -> None:
    """Start every generator anew from a seed below 2^64."""
    random.seed(seed)
    np.random.seed([seed & 0xFFFFFFFF, seed >> 32])
    torch.manual_seed(seed)


def random_states(device: torch.device) -> dict[str, Any]:
    """The states as plain data and tensors: what `torch.load(weights_only=True)` reads.

    Dropout draws from the device's own generator.
    """
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": [version, list(words), gauss],
        "numpy": [name, [int(key) for key in keys], int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
        "device": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def restore_random_states(states: dict[str, Any], device: torch.device) -> None:
    """Put the states back that `random_states` returned.

    Raises:
        KeyError, TypeError, ValueError: when it is something else.
    """
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    torch.set_rng_state(states["torch"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["device"], device)
