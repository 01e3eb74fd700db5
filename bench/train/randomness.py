"""States of the random generators of Python, NumPy and PyTorch, for checkpoints.

The project itself draws from PyTorch's generators only. A user's architecture may draw from the others too.
It continues with the same numbers after a resumption only if the checkpoint contains all states.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def seed_random(seed: int) -> None:
    """Seed every generator; 0 ≤ seed < 2⁶⁴."""
    random.seed(seed)
    # NumPy accepts 32-bit words only.
    np.random.seed([seed & 0xFFFFFFFF, seed >> 32])
    torch.manual_seed(seed)


def random_states(device: torch.device) -> dict[str, Any]:
    """The states as plain values and tensors, which `torch.load(weights_only=True)` accepts.

    The device's generator is included because dropout of whole channels (S4, S4-Mamba) and users' models draw
    from it.
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
    """Restore the states that `random_states` returned.

    Raises:
        KeyError, TypeError, ValueError: `states` is not such a value. Some generators may be restored then.
    """
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    torch.set_rng_state(states["torch"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["device"], device)
