"""The registry of kernels: for every kernel, the location of each backend. Readable without torch.

`KERNELS` lists the three backends that compute every kernel. The entry of a further backend in
`bench.kernels.backends.BACKENDS` lists the kernels that it computes.

To add a kernel, add its folder and an entry here, in `bench.kernels.inputs.INPUTS` and in
`bench.kernels.speed.FLOATS`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from bench.errors import UserError
from bench.kernels.backends import BACKENDS

Function: TypeAlias = Callable[..., Any]
Backends: TypeAlias = Mapping[str, str | Callable[[], Function]]
"""Locations of a kernel's backends, by name. A location is one of

- "module:attribute": the function, imported on first use;
- the name of another backend of the same kernel, which replaces this one;
- a callable without arguments that returns the function.
"""


def _backends(folder: str, function: str) -> Backends:
    """Backends of a kernel whose function has the same name in all files."""
    return {
        name: f"bench.kernels.{folder}.{name}:{function}" for name in ("reference", "sequential", "triton")
    }


def _without_triton(folder: str, function: str) -> Backends:
    """Backends of a kernel that has no Triton code: `triton` is another name of `sequential`."""
    return {**_backends(folder, function), "triton": "sequential"}


KERNELS: dict[str, Backends] = {
    "selective scan": {
        "reference": "bench.kernels.scan.reference:reference",
        "sequential": "bench.kernels.scan.sequential:sequential",
        "triton": "bench.kernels.scan.triton:scan",
    },
    "short convolution": {
        "reference": "bench.kernels.convolution.reference:reference",
        "sequential": "bench.kernels.convolution.sequential:shifts",
        "triton": "bench.kernels.convolution.triton:convolution",
    },
    "Mamba block": {
        "reference": "bench.kernels.mamba.parts:reference",
        "sequential": "bench.kernels.mamba.parts:sequential",
        "triton": "bench.kernels.mamba.triton:block",
    },
    "gated input": {
        "reference": "bench.kernels.mamba.parts:reference_input",
        "sequential": "bench.kernels.mamba.parts:sequential_input",
        "triton": "bench.kernels.mamba.triton_input:gated_input",
    },
    "diagonal SSM": {
        "reference": "bench.kernels.ssm.reference:reference",
        "sequential": "bench.kernels.ssm.sequential:fourier",
        "triton": "bench.kernels.ssm.triton:ssm",
    },
    "delta rule": _backends("delta", "delta_rule"),
    "vector delta rule": _backends("vector_delta", "vector_delta_rule"),
    "diagonal plus rank one": _backends("vector_delta", "diagonal_plus_rank_one"),
    "RWKV-7 keys": {**_backends("rwkv7", "rwkv7_keys"), "sequential": "reference"},
    "RWKV-7 outputs": {**_backends("rwkv7", "rwkv7_outputs"), "sequential": "reference"},
    "scalar decay": _backends("decay", "scalar_decay"),
    "vector decay": _backends("decay", "vector_decay"),
    "mLSTM": _without_triton("mlstm", "mlstm"),
    "attention": _backends("attention", "attention"),
    "attention with dropout": {
        "reference": "bench.kernels.attention.reference:attention_dropout",
        "sequential": "reference",
        "triton": "bench.kernels.attention.triton:attention_dropout",
    },
    "clip and Adam": {
        "reference": "bench.kernels.adam.reference:reference",
        "sequential": "reference",
        "triton": "bench.kernels.adam.triton:Fused",
    },
    "norm": _backends("normalization", "norm"),
    "addition and norm": _backends("normalization", "add_norm"),
    "norm of a sum": _backends("normalization", "norm_of_sum"),
    "RMS norm": _backends("normalization", "rms_norm"),
    "addition and RMS norm": _backends("normalization", "add_rms_norm"),
    "RMS norm of a sum": _backends("normalization", "rms_norm_of_sum"),
    "bias and GELU": _backends("activation", "bias_gelu"),
    "GELU": _backends("activation", "gelu"),
    "bias and GLU": _backends("activation", "bias_glu"),
    "gate": _backends("activation", "gate"),
    "SiLU gate": _backends("activation", "silu_gate"),
    "product": _backends("product", "linear"),
    "product and bias": _backends("product", "linear_bias"),
}
"""Backends by kernel."""


def backends_of(kernel: str) -> Backends:
    """Locations of a kernel's backends, by name; a backend without code for it has a replacement's name.

    Raises:
        UserError: unknown kernel.
    """
    if kernel not in KERNELS:
        raise UserError(f"there is no kernel '{kernel}': there are {', '.join(KERNELS)}")
    backends = KERNELS[kernel]
    further = {
        name: location
        for name, backend in BACKENDS.items()
        if name not in backends and (location := backend.kernels.get(kernel, backend.otherwise))
    }
    return {**backends, **further}


def own_backends(kernel: str) -> tuple[str, ...]:
    """Names of a kernel's backends, without those that another backend replaces.

    Raises:
        UserError: unknown kernel.
    """
    backends = backends_of(kernel)
    return tuple(name for name, place in backends.items() if not _is_substitute(place))


def load(kernel: str, backend: str) -> Function:
    """The function that computes `kernel` with `backend`; imports the packages of that backend.

    Raises:
        UserError: unknown kernel, or the kernel has no such backend.
        ImportError: a package of the backend is not installed (`bench.kernels.backends.unavailable`).
    """
    backends = backends_of(kernel)
    if backend not in backends:
        raise UserError(f"kernel '{kernel}' has no backend '{backend}': it has {', '.join(backends)}")
    place = backends[backend]
    if not isinstance(place, str):
        return place()
    if _is_substitute(place):
        return load(kernel, place)
    module, _, name = place.partition(":")
    function: Function = getattr(importlib.import_module(module), name)
    return function


def _is_substitute(place: object) -> bool:
    return isinstance(place, str) and ":" not in place
