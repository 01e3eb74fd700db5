"""Checkpoints of a stack in training, one file per stack.

A checkpoint contains everything that the next steps depend on, so a resumed stack computes the same bits. The
file is written atomically: after a crash it is the old checkpoint or the new one.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import torch

from bench.files import write_atomically
from bench.stack import Stack
from bench.train import CHECKPOINT
from bench.train.notes import StackNotes
from bench.train.randomness import random_states, restore_random_states, seed_random
from bench.train.state import State


def save(folder: Path, stack: Stack, state: State, notes: StackNotes, plugins: str = "") -> None:
    """Write a checkpoint into `folder`, atomically.

    Args:
        folder: folder of the stack.
        stack: all of its members.
        state: tensors of the members that are computed (`notes.computed`).
        notes: the host's record of the stack.
        plugins: the version of the plugins that compute the stack; "" without plugins.
    """
    buffer = io.BytesIO()
    torch.save(
        {
            "runs": [run.id for run in stack.members],
            "plugins": plugins,
            "tensors": {name: tensor.detach().cpu() for name, tensor in state.tensors().items()},
            "random": random_states(state.step.device),
            "notes": notes.plain(),
        },
        buffer,
    )
    write_atomically(folder / CHECKPOINT, buffer.getvalue())


def restore(folder: Path, state: State, plugins: str = "") -> tuple[State, StackNotes] | None:
    """Return the saved state and the notes; None without a checkpoint.

    A file that is not a checkpoint of exactly this stack (truncated, of another stack, of another version of
    bench or of a plugin) is renamed to `checkpoint.pt.unusable`, and training starts over. This is safe
    because a checkpoint only saves time; results do not depend on it.

    Args:
        folder: folder of the stack.
        state: the initial state of the stack. The state of the members that are still computed
            (`State.of_members`) receives the saved tensors.
        plugins: as in `save`. A model that two versions trained would be a result of neither.

    Raises:
        OSError: the file cannot be read. It may be whole, so it stays.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    data = io.BytesIO(path.read_bytes())
    try:
        # `weights_only` refuses arbitrary pickles, so a file from elsewhere cannot run code.
        saved = torch.load(data, map_location="cpu", weights_only=True)
        if saved["runs"] != [run.id for run in state.stack.members]:
            raise ValueError(f"it belongs to the runs {', '.join(map(str, saved['runs']))}")
        if saved.get("plugins", "") != plugins:
            raise ValueError("another version of a plugin trained it")
        notes = StackNotes.of(saved["notes"])
        restored = state.of_members(notes.computed)
        tensors = restored.tensors()
        pairs = [(tensors[name], saved["tensors"][name]) for name in tensors]
        if any(tensor.shape != value.shape for tensor, value in pairs):
            raise ValueError("its tensors have other shapes")
        restore_random_states(saved["random"], state.step.device)
    except Exception as error:  # a damaged pickle raises nearly anything
        os.replace(path, path.with_suffix(".pt.unusable"))
        print(f"{path}: unusable checkpoint ({error}); renamed, training starts over", flush=True)
        # `restore_random_states` may have failed halfway, with some generators already overwritten.
        seed_random(state.stack.first.seed)
        return None
    # In place, because a captured graph, the optimizer and the model's parameters refer to this memory. Last,
    # so that a fault in the file is found before the first tensor changes.
    with torch.no_grad():
        for tensor, value in pairs:
            tensor.copy_(value)
    return restored, notes
