"""Measure cases of `bench speed` one after another on this machine's device, and yield the growing record.

Importing this module does not import torch.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.environment import code_identity, device_name
from bench.errors import UserError, did_you_mean
from bench.models.sizes import size_key
from bench.run import Run
from bench.speed.records import Record

if TYPE_CHECKING:
    import torch

PEERS = {"jax": "pip install 'jax[cuda12]' on a GPU, pip install jax on a processor"}
"""Other programs that can be timed for comparison, and the commands that install them."""
PEER_CASE = ("transformer", "linear_regression")
"""Architecture and task that a peer's program computes."""


def check_peer(peer: str) -> None:
    """Check that another program can be timed.

    Raises:
        UserError: there is no such peer, or it is not installed.
    """
    if peer not in PEERS:
        raise UserError(f"--peer {peer}{did_you_mean(peer, PEERS)}")
    if importlib.util.find_spec(peer) is None:
        raise UserError(f"--peer {peer}: package {peer} is not installed: {PEERS[peer]}")


def prepared_device() -> torch.device:
    """Apply the settings of workers to this process; return the device to measure."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler reports its own stages otherwise
    import torch

    torch.set_num_threads(1)
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def possible(cases: list[Run], device: torch.device, precisions: Sequence[str] | None) -> list[Run]:
    """The cases that a device can compute. A processor computes only fp32.

    Args:
        cases: runs, one for each shape.
        device: the device.
        precisions: the precisions that the user asks for; None for the usual precisions.

    Raises:
        UserError: there is no such case, or the user asks for another precision.
    """
    if device.type == "cuda":
        return cases
    in_fp32 = [run for run in cases if run.precision == "fp32"]
    if not in_fp32 or (precisions and len(in_fp32) < len(cases)):
        raise UserError(
            "only fp32 can be timed here: other precisions need an NVIDIA GPU; use --precisions fp32"
        )
    return in_fp32


def measured(
    cases: Sequence[Run],
    stacks: Sequence[int],
    device: torch.device,
    *,
    profile: bool = False,
    peer: str | None = None,
    report: Callable[[str], None] = lambda case: None,
) -> Iterator[Record]:
    """Yield the record after each case.

    Args:
        cases: a run of each shape.
        stacks: numbers of members; every case is measured once for each.
        device: the device (`prepared_device`).
        profile: whether to record the times of all kernels too.
        peer: another program that is timed beside its case (`PEER_CASE`).
        report: called with the name of each case before it is measured.
    """
    import torch

    from bench.kernels.backends import AUTO, resolve
    from bench.speed.measure import measure, roofline

    backend, _ = resolve(AUTO, str(device))
    code, date = code_identity(), time.strftime("%Y-%m-%dT%H:%M:%S%z")
    about = {"torch": str(torch.__version__), "commit": code["commit"], "date": date}
    precisions = tuple(dict.fromkeys(run.precision for run in cases))
    on_gpu = device.type == "cuda"
    memory = torch.cuda.get_device_properties(device).total_memory >> 20 if on_gpu else None
    report("measuring a copy and matrix products")
    limits = roofline(device, precisions)
    record = Record(
        device=device_name(str(device)),
        device_kind="gpu" if on_gpu else "cpu",
        memory_mib=memory,
        dirty=code["dirty"],
        copy_bytes_per_second=limits.copy_bytes_per_second,
        product_flops_per_second=limits.product_flops_per_second,
        rows=(),
        peers=(),
        **about,
    )
    for run in cases:
        for members in stacks:
            model = f"{run.architecture.name} {size_key(run.size)}"
            case = f"{model} {run.task.name} {run.precision}, stack {members}"
            report(case)
            row = replace(measure(run, members, device, backend, profile), **about)
            record = replace(record, rows=(*record.rows, row))
            if peer and (run.architecture.name, run.task.name) == PEER_CASE:
                from bench.speed import peer_jax

                report(f"jax: {case}")
                timed = {**peer_jax.measure(run, members), "date": date}
                record = replace(record, peers=(*record.peers, timed))
            yield record
