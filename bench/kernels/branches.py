"""Parallel work on a GPU: a second CUDA stream within an operator.

The kernels of a small model fill a part of a GPU, and most of their time is latency. A gradient of weights is
needed only by the optimizer, so it can run beside the kernels that the backward pass waits for. In a captured
step, such work becomes a parallel branch of the graph. Streams change no bit: kernels and their inputs stay
the same.

An operator joins its branches before it returns, unless nothing reads their results before the end of the
backward pass (`bench.kernels.operators.mark_final`). Then `leave` and `aside` leave the joining to
`backward_pass`.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from types import TracebackType

import torch
from torch import Tensor

KEPT = 1 << 28
"""Bytes that the branches of a pass may keep from being freed. With more, they are joined."""


class Branch:
    """A branch of the work on a GPU. On other devices, the work runs in its order.

    ::

        with branch:        # begins when everything launched before is done
            dweight = …
        dx = …              # runs beside dweight
        branch.join()       # what follows waits for the branch

    The caller keeps all tensors that the branch reads until `join`. Otherwise their memory could be given to
    kernels that run beside it.

    Args:
        like: a tensor on the device.
        number: branches with different numbers run beside each other.
    """

    def __init__(self, like: Tensor, number: int = 0) -> None:
        self.stream = _stream(like.get_device(), number) if like.is_cuda else None
        self.main: torch.cuda.Stream | None = None
        self.context: torch.cuda.StreamContext | None = None

    def __enter__(self) -> None:
        if self.stream is None:
            return
        self.main = torch.cuda.current_stream(self.stream.device)
        # Also for memory: what the branch allocates may have been read by work that was launched before.
        self.stream.wait_stream(self.main)
        self.context = torch.cuda.stream(self.stream)
        self.context.__enter__()  # type: ignore[no-untyped-call]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.context is not None:
            self.context.__exit__(kind, error, trace)

    def join(self) -> None:
        """Let the work that follows wait for the branch. Nothing to do if it has no work."""
        if self.main is not None and self.stream is not None:
            self.main.wait_stream(self.stream)

    def leave(self, *read: Tensor) -> None:
        """Join the branch at the end of the backward pass, or now if its results are read before.

        Args:
            read: what the branch reads. No later work may write there.
        """
        if _pass is None or not _pass.final:
            self.join()
        else:
            _pass.leave(self, read)


@contextlib.contextmanager
def aside(*read: Tensor) -> Iterator[None]:
    """Run the work of a `with` block on a branch that is left; in its order if its results are read before.

    Args:
        read: what the work reads. No later work may write there.
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
        final: whether only the caller of the pass reads the gradients of parameters of the operator at hand.
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
"""The pass that runs in this process. No thread has its own, because autograd has threads of its own."""


@contextlib.contextmanager
def backward_pass() -> Iterator[None]:
    """A backward pass. At its end, the branches that operators left are joined."""
    global _pass
    _pass = current = _Pass()
    try:
        yield
    finally:
        _pass = None
        current.join()


@contextlib.contextmanager
def operator_in_pass(final: bool) -> Iterator[None]:
    """The gradient of one operator; `final` as in `_Pass`."""
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
    """A numbered stream of a device. Streams are kept, because cuBLAS keeps a workspace for each of them."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
