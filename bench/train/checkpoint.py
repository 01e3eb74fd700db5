"""Checkpoints: enough to go on as if nothing had happened, whole or absent; one file for a stack."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import torch

from bench.files import write_atomically
from bench.train.randomness import random_states, restore_random_states, seed_random
from bench.train.step import State

NAME = "checkpoint.pt"


def save(folder: Path, state: State, notes: dict[str, Any]) -> None:
    """Write the state, its stack's composition and the host's notes (plain values), atomically."""
    buffer = io.BytesIO()
    torch.save(
        {
            "runs": [run.id for run in state.stack.members],
            "tensors": {name: tensor.detach().cpu() for name, tensor in state.tensors().items()},
            "random": random_states(state.step.device),
            "notes": notes,
        },
        buffer,
    )
    write_atomically(folder / NAME, buffer.getvalue())


def restore(folder: Path, state: State) -> dict[str, Any] | None:
    """Put the saved state into `state`, in place, and return the notes; None when there is none.

    A file that is not a checkpoint of this very stack (truncated, foreign, another version's) is renamed to
    `checkpoint.pt.unusable` and training starts over: it is an optimisation, never the record.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        if saved["runs"] != [run.id for run in state.stack.members]:
            raise ValueError(f"belongs to {', '.join(map(str, saved['runs']))}")
        tensors = state.tensors()
        pairs = [(tensors[name], saved["tensors"][name]) for name in tensors]
        if any(tensor.shape != value.shape for tensor, value in pairs):
            raise ValueError("has other shapes")
        notes: dict[str, Any] = saved["notes"]
        restore_random_states(saved["random"], state.step.device)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
        EOFError,
        pickle.UnpicklingError,
    ) as error:
        os.replace(path, path.with_suffix(".pt.unusable"))
        print(f"{path}: not usable ({error}); set aside, starting over", flush=True)
        seed_random(state.stack.first.seed)  # some states may have been put back before the fault showed
        return None
    with torch.no_grad():
        for tensor, value in pairs:
            tensor.copy_(value)
    return notes
