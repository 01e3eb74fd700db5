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

TestOutcomes = list[dict[str, Any]]
"""Outcomes of the kernels' self-test in this process, stored with every result."""


class KernelDisagrees(Exception):
    """A kernel does not compute what its reference computes."""


def prepare_process(machine: Machine) -> TestOutcomes:
    """Apply settings that must precede the first use of torch; run the kernels' self-test."""
    code_identity()  # cached now: the files may change before the first result is stored
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # bitwise reproducible matrix products
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    import torch

    torch.set_num_threads(machine.threads)
    if machine.device.startswith("cuda"):
        torch.cuda.set_device(machine.device)
    from bench.kernels.self_test import BRIEF, self_test

    outcomes = self_test(torch.device(machine.device), (machine.kernels,), BRIEF)
    names = ("kernel", "backend", "outputs", "gradients", "agrees")
    return [{name: getattr(outcome, name) for name in names} for outcome in outcomes]


def check_kernels(test_outcomes: TestOutcomes) -> None:
    """Refuse a kernel that the self-test found to differ from its reference.

    Raises:
        KernelDisagrees: a kernel disagrees with its reference on this device.
    """
    for outcome in test_outcomes:
        if not outcome["agrees"]:
            raise KernelDisagrees(
                f"{outcome['kernel']} ({outcome['backend']}) differs from its reference: outputs by "
                f"{outcome['outputs']:.1e}, gradients by {outcome['gradients']:.1e} (relative); "
                "see bench doctor"
            )


class StopFlag:
    """Call it to know whether the process must stop: a signal arrived, or the parent process has died."""

    def __init__(self) -> None:
        self._signalled = self._at_once = False
        parent = multiprocessing.parent_process()  # is set even if the parent has died by now
        self._parent = os.getppid() if parent is None or parent.pid is None else parent.pid
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._receive)

    def _receive(self, number: int, frame: object) -> None:
        self._signalled = True
        if self._at_once:
            raise SystemExit(0)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Let a signal end the process within this context. For long work that has nothing to save."""
        self._at_once = True
        try:
            if self._signalled:
                raise SystemExit(0)
            yield
        finally:
            self._at_once = False

    def __call__(self) -> bool:
        return self._signalled or os.getppid() != self._parent


@contextlib.contextmanager
def output_to(log: Path) -> Iterator[None]:
    """Append all output, also that of libraries, to a file while the context lasts."""
    copies = os.dup(sys.stdout.fileno()), os.dup(sys.stderr.fileno())
    redirect_output(log)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        for copy, stream in zip(copies, (sys.stdout, sys.stderr), strict=True):
            os.dup2(copy, stream.fileno())
            os.close(copy)


def redirect_output(log: Path) -> None:
    """Append all output of this process, also that of libraries, to the worker's log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
            if isinstance(stream, io.TextIOWrapper):  # a plugin may print any letter
                stream.reconfigure(errors="backslashreplace")
