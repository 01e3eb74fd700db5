"""Every kernel, and where each of its backends is; readable without torch.

A new backend is a file in the kernel's folder and a line in `KERNELS`. A new kernel is a folder and an entry:
its backends here, or the place of a table that the folder keeps itself ("bench.kernels.mine:BACKENDS").
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from bench.errors import UserError

Function: TypeAlias = Callable[..., Any]
Backends: TypeAlias = Mapping[str, str | Callable[[], Function]]
"""Where a kernel's backends are, by name. Each is one of

- "module:attribute", the function itself, imported when it is asked for;
- the name of another backend of the same kernel, which then stands in for this one;
- a callable without arguments that returns the function.
"""


def _backends(folder: str, function: str) -> Backends:
    """A kernel whose function has one name in all files of its folder, and no official kernel."""
    own = {
        name: f"bench.kernels.{folder}.{name}:{function}" for name in ("reference", "sequential", "triton")
    }
    return {**own, "mamba_ssm": "triton"}


KERNELS: dict[str, Backends | str] = {
    "selective scan": {
        "reference": "bench.kernels.scan.reference:reference",
        "sequential": "bench.kernels.scan.sequential:sequential",
        "triton": "bench.kernels.scan.triton:scan",
        "mamba_ssm": "bench.kernels.scan.official:scan",
    },
    "short convolution": {
        "reference": "bench.kernels.convolution.reference:reference",
        "sequential": "bench.kernels.convolution.sequential:shifts",
        "triton": "bench.kernels.convolution.triton:convolution",
        "mamba_ssm": "bench.kernels.convolution.official:convolution",
    },
    "diagonal SSM": {
        "reference": "bench.kernels.ssm.reference:reference",
        "sequential": "bench.kernels.ssm.sequential:fourier",
        "triton": "bench.kernels.ssm.triton:ssm",
        "mamba_ssm": "sequential",  # mamba_ssm has no time-invariant SSM
    },
    "attention": _backends("attention", "attention"),
    "clip and Adam": {
        "reference": "bench.kernels.adam.reference:Reference",
        "sequential": "reference",
        "triton": "bench.kernels.adam.triton:Fused",
        "mamba_ssm": "triton",  # mamba_ssm has no optimiser
    },
    "norm": _backends("normalization", "norm"),
    "addition and norm": _backends("normalization", "add_norm"),
    "norm of a sum": _backends("normalization", "norm_of_sum"),
    "bias and GELU": _backends("activation", "bias_gelu"),
    "GELU": _backends("activation", "gelu"),
    "bias and GLU": _backends("activation", "bias_glu"),
    "gate": _backends("activation", "gate"),
    "SiLU gate": _backends("activation", "silu_gate"),
    "product": _backends("product", "linear"),
    "product and bias": _backends("product", "linear_bias"),
}
"""Backends by kernel; a string is where the table of a kernel's backends is."""


def backends_of(kernel: str) -> Backends:
    """The table of a kernel's backends.

    Raises:
        UserError: there is no such kernel.
    """
    if kernel not in KERNELS:
        raise UserError(f"there is no kernel '{kernel}': there are {', '.join(KERNELS)}")
    table = KERNELS[kernel]
    backends: Backends = _attribute(table) if isinstance(table, str) else table
    return backends


def own_backends(kernel: str) -> tuple[str, ...]:
    """Names of a kernel's backends, without those that another one stands in for.

    Raises:
        UserError: there is no such kernel.
    """
    backends = backends_of(kernel)
    return tuple(name for name, place in backends.items() if not _stands_in(place))


def load(kernel: str, backend: str) -> Function:
    """The function that computes `kernel` with `backend`; imports what it needs.

    Raises:
        UserError: there is no such kernel, or it has no such backend.
        ImportError: a package that the backend needs is not installed (`bench.kernels.backends.unavailable`).
    """
    backends = backends_of(kernel)
    if backend not in backends:
        raise UserError(f"kernel '{kernel}' has no backend '{backend}': it has {', '.join(backends)}")
    place = backends[backend]
    if not isinstance(place, str):
        return place()
    if _stands_in(place):
        return load(kernel, place)
    function: Function = _attribute(place)
    return function


def _stands_in(place: object) -> bool:
    return isinstance(place, str) and ":" not in place


def _attribute(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
