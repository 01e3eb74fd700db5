"""Parallel work on a GPU: a second CUDA stream within an operator.

The kernels of a small model fill only a part of a GPU, and most of their time is latency. Only the optimizer
needs gradients of weights, so they can run beside the kernels that the backward pass waits for. In a captured
step, such work becomes a parallel branch of the graph. Streams do not change bits, because kernels and their
inputs stay the same.

An operator joins its branches before it returns. There is one exception: if nothing reads their results
before the end of the backward pass (`bench.kernels.operators.mark_final`), `leave` and `aside` let
`backward_pass` join them.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from types import TracebackType

import torch
from torch import Tensor

KEPT = 1 << 28
"""Largest number of bytes that the branches of a pass keep in memory. Beyond it, they are joined."""


class Branch:
    """A branch of the work on a GPU. On other devices, the work runs in program order.

    ::

        with branch:        # begins when all work launched before it is done
            dweight = …
        dx = …              # runs beside dweight
        branch.join()       # later work waits for the branch

    The caller must keep all tensors that the branch reads until `join`. Otherwise kernels that run beside the
    branch could reuse their memory.

    Args:
        like: a tensor on the device.
        number: number of the stream. Branches with different numbers run beside each other.
    """

    def __init__(self, like: Tensor, number: int = 0) -> None:
        self.stream = _stream(like.get_device(), number) if like.is_cuda else None
        self.main: torch.cuda.Stream | None = None
        self.context: torch.cuda.StreamContext | None = None

    def __enter__(self) -> None:
        if self.stream is None:
            return
        self.main = torch.cuda.current_stream(self.stream.device)
        # Also for memory: earlier work may still read memory that the branch allocates.
        self.stream.wait_stream(self.main)
        self.context = torch.cuda.stream(self.stream)
        self.context.__enter__()  # type: ignore[no-untyped-call]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.context is not None:
            self.context.__exit__(kind, error, trace)

    def join(self) -> None:
        """Let later work wait for the branch. Does nothing if the branch has no work."""
        if self.main is not None and self.stream is not None:
            self.main.wait_stream(self.stream)

    def leave(self, *read: Tensor) -> None:
        """Join the branch at the end of the backward pass, or now if its results are read earlier.

        Args:
            read: tensors that the branch reads. Later work must not write to them.
        """
        if _pass is None or not _pass.final:
            self.join()
        else:
            _pass.leave(self, read)


@contextlib.contextmanager
def aside(*read: Tensor) -> Iterator[None]:
    """Run a `with` block on a branch that `backward_pass` joins, or in order if its results are read earlier.

    Args:
        read: tensors that the block reads. Later work must not write to them.
    """
    if _pass is None or not _pass.final:
        yield
        return
    branch = Branch(read[0])
    with branch:
        yield
    branch.leave(*read)


class _Pass:
    """A backward pass.

    Attributes:
        final: whether only the caller of the pass reads the current operator's gradients of parameters.
        left: branches to join.
        read: tensors that these branches read, kept until they are joined.
    """

    def __init__(self) -> None:
        self.final = False
        self.left: list[Branch] = []
        self.read: list[Tensor] = []

    def leave(self, branch: Branch, read: tuple[Tensor, ...]) -> None:
        self.left.append(branch)
        self.read.extend(read)
        if sum(tensor.nbytes for tensor in self.read) > KEPT:
            self.join()

    def join(self) -> None:
        for branch in self.left:
            branch.join()
        self.left, self.read = [], []


_pass: _Pass | None = None
"""The pass of this process. It is not per thread, because autograd runs operators in its own threads."""


@contextlib.contextmanager
def backward_pass() -> Iterator[None]:
    """Run a backward pass in a `with` block, and join the branches of its operators at the end."""
    global _pass
    _pass = current = _Pass()
    try:
        yield
    finally:
        _pass = None
        current.join()


@contextlib.contextmanager
def operator_in_pass(final: bool) -> Iterator[None]:
    """Compute the gradient of one operator in a `with` block; `final` as in `_Pass`."""
    if _pass is None:
        yield
        return
    _pass.final = final
    try:
        yield
    finally:
        _pass.final = False


@functools.cache
def _stream(device: int, number: int) -> torch.cuda.Stream:
    """A numbered stream of a device. Streams are cached, because cuBLAS keeps a workspace for each stream."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
