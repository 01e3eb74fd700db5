"""Causal multi-head attention (Vaswani et al. 2017): one formula, several ways to compute it.

For every prompt and head, with queries q, keys k and values v of Dh numbers a token:

    y_t = Σ_s P_ts v_s          P_ts = exp(q_t·k_s / √Dh) / Σ_{r ≤ t} exp(q_t·k_r / √Dh),  s ≤ t

Shapes: qkv (B, L, 3, H, Dh), a view of what one linear layer makes, (B, L, 3·D) with D = H·Dh;
y (B, L, H, Dh), of which (B, L, D) is a view where y is contiguous.

`reference` is the specification: all scores at once, and autograd. `sequential` is PyTorch's
`scaled_dot_product_attention`, the fastest on a CPU. `triton` is one launch each way, and needs an NVIDIA
GPU. The Mamba authors' package has no attention: `mamba_ssm` is `triton`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from bench.kernels.attention.reference import reference
from bench.kernels.operators import operator

Attention = Callable[[Tensor], Tensor]
ARGUMENTS = ("qkv",)


def sequential(qkv: Tensor) -> Tensor:
    """PyTorch's own kernel for the device; y is a view of a tensor with heads before tokens."""
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    return functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)


@functools.cache
def _triton() -> Attention:
    from bench.kernels.attention import triton as kernels

    def shapes(qkv: Tensor) -> tuple[Tensor, ...]:
        K, batch, length, _, heads, width = qkv.shape
        return qkv.new_empty(K, batch, length, heads, width), qkv.new_empty(K, batch, heads, length)

    def gradient_shapes(dy: Tensor, qkv: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        return (qkv.new_empty(qkv.shape),)

    return operator(
        "attention_triton",
        ARGUMENTS,
        ("lse",),
        kernels.forward,
        kernels.backward,
        shapes,
        needs=("qkv", "y", "lse"),
        gradient_shapes=gradient_shapes,
    )


BACKENDS: dict[str, Callable[[], Attention]] = {
    "reference": lambda: reference,
    "sequential": lambda: sequential,
    "triton": _triton,
    "mamba_ssm": _triton,
}


def attention(name: str) -> Attention:
    """The backend `name` (`bench.kernels.backends.NAMES`); imports what it needs."""
    return BACKENDS[name]()
