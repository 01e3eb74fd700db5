"""Checkpoints: enough to go on as if nothing had happened, whole or absent."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import torch

from bench.files import write_atomically
from bench.train.step import State, random_state, set_random_state

NAME = "checkpoint.pt"


def save(folder: Path, run_id: str, state: State, notes: dict[str, Any]) -> None:
    """Write the state and the host's notes (plain values), atomically."""
    buffer = io.BytesIO()
    torch.save(
        {
            "run": run_id,
            "tensors": [tensor.detach().cpu() for tensor in state.tensors()],
            "random": random_state(state.step.device),
            "notes": notes,
        },
        buffer,
    )
    write_atomically(folder / NAME, buffer.getvalue())


def restore(folder: Path, run_id: str, state: State) -> dict[str, Any] | None:
    """Put the saved state into `state`, in place, and return the notes; None when there is none.

    A file that is not this run's checkpoint (truncated, foreign, another version's) is renamed to
    `checkpoint.pt.unusable` and training starts over: it is an optimisation, never the record.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        if saved["run"] != run_id:
            raise ValueError(f"belongs to run {saved['run']}")
        pairs = list(zip(state.tensors(), saved["tensors"], strict=True))
        if any(mine.shape != theirs.shape for mine, theirs in pairs):
            raise ValueError("has other shapes")
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        RuntimeError,
        EOFError,
        pickle.UnpicklingError,
    ) as error:
        os.replace(path, path.with_suffix(".pt.unusable"))
        print(f"{path}: not usable ({error}); set aside, starting over", flush=True)
        return None
    with torch.no_grad():
        for mine, theirs in pairs:
            mine.copy_(theirs)
    set_random_state(state.step.device, saved["random"])
    notes: dict[str, Any] = saved["notes"]
    return notes
