"""The record of one process that trains a stack: where, with which code and with which kernels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench import environment

if TYPE_CHECKING:
    from bench.train.loop import TrainingOptions


def piece_of(
    options: TrainingOptions, from_step: int, members: int, backends: Mapping[str, str]
) -> dict[str, Any]:
    """The entry of this process in a result's `pieces` (`bench.results.record.Piece`).

    Args:
        options: of the training.
        from_step: optimisation steps done when the process began.
        members: of the stack.
        backends: by kernel that the model or the optimizer uses, the backend whose code computes it.
    """
    facts = environment.describe(str(options.device))
    packages = facts["packages"]
    return {
        "from_step": from_step,
        **{name: facts[name] for name in ("device", "host", "commit", "dirty", "source", "cuda")},
        **{name: packages.get(name) for name in ("torch", "triton")},
        "kernels": options.kernels,
        "backends": dict(sorted(backends.items())),
        "captured": options.device.type == "cuda",
        "processes": options.group.size if options.group else 1,
        "members": members,
    }
