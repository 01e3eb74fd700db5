"""The registry of kernels: the folders that declare them. Readable without torch.

To add a kernel, add its folder and a line to `FOLDERS`.
"""

from __future__ import annotations

import importlib

from bench.errors import UserError
from bench.kernels.kernel import Kernel

FOLDERS = (
    "bench.kernels.scan",
    "bench.kernels.convolution",
    "bench.kernels.mamba",
    "bench.kernels.ssm",
    "bench.kernels.delta",
    "bench.kernels.vector_delta",
    "bench.kernels.rwkv7",
    "bench.kernels.decay",
    "bench.kernels.mlstm",
    "bench.kernels.attention",
    "bench.kernels.normalization",
    "bench.kernels.activation",
    "bench.kernels.product",
    "bench.kernels.adam",
)
"""Packages with `KERNELS`, a tuple of `Kernel`, in the order of the self-test."""


def kernels() -> dict[str, Kernel]:
    """All kernels by name."""
    declared = (kernel for folder in FOLDERS for kernel in importlib.import_module(folder).KERNELS)
    return {kernel.name: kernel for kernel in declared}


def find(name: str) -> Kernel:
    """The kernel of a name.

    Raises:
        UserError: there is no such kernel.
    """
    by_name = kernels()
    if name not in by_name:
        raise UserError(f"there is no kernel '{name}': there are {', '.join(by_name)}")
    return by_name[name]
