"""Which workers this machine can start: how many, and on which devices."""

from __future__ import annotations

import os
from dataclasses import replace

from bench.dispatch.job import Machine
from bench.environment import local_device


def machines(
    device: str, workers: int | None, base: Machine, spread: int = 1, side_by_side: int | None = None
) -> list[Machine]:
    """The settings of each worker, or of each crew of workers that trains one run together.

    Args:
        device: "auto" (GPUs if there are any), "cpu" or "cuda".
        workers: number of workers; by default one for every `spread` GPUs, or for every `spread` times
            `base.threads` processor cores.
        base: settings of all workers.
        spread: devices that share each run.
        side_by_side: largest number of workers on a GPU; None if only `workers` limits it.

    Raises:
        ValueError: `device` is "cuda" and there is no GPU, or there are fewer GPUs than `spread`.
    """
    gpus = 0 if device == "cpu" else visible_gpus()
    if device == "cuda" and not gpus:
        raise ValueError("no CUDA device that this PyTorch can use; see `bench doctor`")
    if gpus:
        if spread > gpus:
            raise ValueError(f"a run cannot be spread over {spread} GPUs: {gpus} can be used here")
        crews = gpus // spread
        count = workers or crews
        if side_by_side is not None:
            count = min(count, crews * side_by_side)
        return [
            replace(base, devices=tuple(f"cuda:{index % crews * spread + rank}" for rank in range(spread)))
            for index in range(count)
        ]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = workers or max(1, cores // (base.threads * spread))
    return [replace(base, devices=("cpu",) * spread)] * count


def visible_gpus() -> int:
    """Number of CUDA devices that PyTorch can use. Torch is imported only if a driver is installed."""
    if local_device()[1] == "cpu":
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0
