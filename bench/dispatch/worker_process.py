"""The process of a worker: settings before torch is used, signals that stop it, and its output."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.dispatch.job import Machine
from bench.environment import code_identity

Tested = list[dict[str, Any]]
"""Outcomes of the kernels' self-test in this process, stored with every result."""


class KernelDisagrees(Exception):
    """A kernel does not compute what its reference computes."""


def prepare(machine: Machine) -> Tested:
    """Make settings that must precede the first use of torch; then run the kernels' self-test."""
    code_identity()  # cached now: the files may change before the first result is stored
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # bitwise reproducible matrix products
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    import torch

    torch.set_num_threads(machine.threads)
    if machine.device.startswith("cuda"):
        torch.cuda.set_device(machine.device)
    from bench.kernels.self_test import BRIEF, self_test

    outcomes = self_test(torch.device(machine.device), (machine.kernels,), BRIEF)
    return [
        {
            "kernel": outcome.kernel,
            "backend": outcome.backend,
            "outputs": outcome.outputs,
            "gradients": outcome.gradients,
            "agrees": outcome.agrees,
        }
        for outcome in outcomes
    ]


def trust(kernels: Tested) -> None:
    """Refuse to train with a kernel that disagrees with its reference on this device."""
    for outcome in kernels:
        if not outcome["agrees"]:
            raise KernelDisagrees(
                f"{outcome['kernel']} ({outcome['backend']}) differs from its reference: outputs by "
                f"{outcome['outputs']:.1e}, gradients by {outcome['gradients']:.1e} (relative); "
                "see bench doctor"
            )


class StopFlag:
    """True once the process was asked to stop, or its parent is gone."""

    def __init__(self) -> None:
        self._asked = self._at_once = False
        parent = multiprocessing.parent_process()  # who started this process, even if it is gone by now
        self._parent = os.getppid() if parent is None or parent.pid is None else parent.pid
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: object) -> None:
        self._asked = True
        if self._at_once:
            raise SystemExit(0)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Within this context a signal ends the process: the work is long and has nothing to save."""
        self._at_once = True
        try:
            if self._asked:
                raise SystemExit(0)
            yield
        finally:
            self._at_once = False

    def __call__(self) -> bool:
        return self._asked or os.getppid() != self._parent


@contextlib.contextmanager
def output_to(log: Path) -> Iterator[None]:
    """Send what is printed meanwhile, by libraries too, to the end of a file."""
    kept = os.dup(sys.stdout.fileno()), os.dup(sys.stderr.fileno())
    redirect_output(log)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        for copy, stream in zip(kept, (sys.stdout, sys.stderr), strict=True):
            os.dup2(copy, stream.fileno())
            os.close(copy)


def redirect_output(log: Path) -> None:
    """Send what libraries print to the worker's log, not into the progress display."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
            if isinstance(stream, io.TextIOWrapper):  # a plugin's print must not fail for its letters
                stream.reconfigure(errors="backslashreplace")
