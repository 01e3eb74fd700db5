"""LayerNorm and RMSNorm, alone and fused with the residual addition before them.

    total = h + update
    LayerNorm   normed = weight · (total − mean) / √(variance + ε) + bias       ε = 1e-5
    RMSNorm     normed = weight · total / √(mean of total² + ε)                 ε = 1e-6

with means and variance of each row over its channels (RMSNorm: Zhang & Sennrich 2019). Shapes: h, update,
total and normed (..., D); weight and bias (D,).

`norm` normalises h. `add_norm` adds first and returns both tensors; the total continues the residual
stream. `norm_of_sum` adds first and returns only the normed tensor, for a model's last block.
h and update have the same gradient, which is written once. `reference` is the specification, `sequential` is
PyTorch's norms, and `triton` has one launch forward and two backward.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from bench.kernels.inputs import normals
from bench.kernels.kernel import Kernel

if TYPE_CHECKING:
    from torch import Tensor

Kind: TypeAlias = Literal["layer", "rms"]
Norm: TypeAlias = "Callable[[Tensor, Tensor, Tensor], Tensor]"
AddNorm: TypeAlias = "Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]"
NormOfSum: TypeAlias = "Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]"
RMSNorm: TypeAlias = "Callable[[Tensor, Tensor], Tensor]"
EPSILON = 1e-5
RMS_EPSILON = 1e-6


class Norms(NamedTuple):
    """The three functions of a kind of norm. `parameters` are weight and bias, or the weight alone.

    Attributes:
        norm: (h, *parameters) → normed.
        add_norm: (h, update, *parameters) → (total, normed).
        norm_of_sum: (h, update, *parameters) → normed.
    """

    norm: Callable[..., Any]
    add_norm: Callable[..., Any]
    norm_of_sum: Callable[..., Any]


def norms(kind: Kind, name: str) -> Norms:
    """The functions of a kind of norm, as the backend `name` computes them; imports what it needs."""
    if kind == "layer":
        return Norms(norm(name), add_norm(name), norm_of_sum(name))
    return Norms(rms_norm(name), ADD_RMS_NORM.load(name), RMS_NORM_OF_SUM.load(name))


def norm(name: str) -> Norm:
    """(h, weight, bias) → normed, as the backend `name` computes it; imports what it needs."""
    return NORM.load(name)


def add_norm(name: str) -> AddNorm:
    """(h, update, weight, bias) → (total, normed), as the backend `name` computes it."""
    return ADD_NORM.load(name)


def norm_of_sum(name: str) -> NormOfSum:
    """(h, update, weight, bias) → normed, as the backend `name` computes it."""
    return NORM_OF_SUM.load(name)


def rms_norm(name: str) -> RMSNorm:
    """(h, weight) → normed by its root mean square, as the backend `name` computes it."""
    return RMS_NORM.load(name)


# `floats` of `norm`, forward: h in, normed out; backward: h and d normed in, dh out.
# `add_norm`, forward: two in, two out; backward: the total and two gradients in, one out.
# `norm_of_sum`: as `add_norm`, without the total's gradient.
NORM = Kernel("norm", __name__, "norm", normals("xcc"), floats=5)
ADD_NORM = Kernel("addition and norm", __name__, "add_norm", normals("xxcc"), floats=8)
NORM_OF_SUM = Kernel("norm of a sum", __name__, "norm_of_sum", normals("xxcc"), floats=7)
RMS_NORM = Kernel("RMS norm", __name__, "rms_norm", normals("xc"), floats=5)
ADD_RMS_NORM = Kernel("addition and RMS norm", __name__, "add_rms_norm", normals("xxc"), floats=8)
RMS_NORM_OF_SUM = Kernel("RMS norm of a sum", __name__, "rms_norm_of_sum", normals("xxc"), floats=7)
KERNELS = (NORM, ADD_NORM, NORM_OF_SUM, RMS_NORM, ADD_RMS_NORM, RMS_NORM_OF_SUM)
