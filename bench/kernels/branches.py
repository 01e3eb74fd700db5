"""Parallel work on a GPU: a second CUDA stream within an operator.

The kernels of a small model fill a part of a GPU, and most of their time is latency. A gradient of weights is
needed only by the optimizer, so it can run beside the kernels that the backward pass waits for. In a captured
step, such work becomes a parallel branch of the graph. Streams change no bit: kernels and their inputs stay
the same.
"""

from __future__ import annotations

import functools
from types import TracebackType

import torch
from torch import Tensor


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


@functools.cache
def _stream(device: int, number: int) -> torch.cuda.Stream:
    """A numbered stream of a device. Streams are kept, because cuBLAS keeps a workspace for each of them."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
