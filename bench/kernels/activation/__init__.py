"""Elementwise functions between two matrix products, fused with the first product's bias.

| function    | computes                              | used by                        |
|-------------|---------------------------------------|--------------------------------|
| `bias_gelu` | gelu(u + bias), tanh approximation    | GPT-2's feed-forward network   |
| `gelu`      | u · Φ(u), exact                       | S4                             |
| `bias_glu`  | a · sigmoid(b), [a, b] = u + bias     | S4's mixing of channels        |
| `gate`      | y · z                                 | Mamba's block around an S4D    |
| `silu_gate` | y · silu(z)                           | SwiGLU, gates of most mixers   |

The tanh approximation is v · (1 + tanh(√(2/π) (v + 0.044715 v³))) / 2. Shapes: u, y, z (..., E); bias (E,);
of the GLU, u (..., 2E) and bias (2E,). z may be a slice of wider rows; it is not copied. `reference` is
the specification, `sequential` is PyTorch's function, `triton` has a launch forward and a launch backward,
and one more for the gradient of a bias.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from bench.kernels.inputs import normals
from bench.kernels.kernel import Kernel

if TYPE_CHECKING:
    from torch import Tensor

Elementwise: TypeAlias = "Callable[[Tensor], Tensor]"
WithBias: TypeAlias = "Callable[[Tensor, Tensor], Tensor]"
Gate: TypeAlias = "Callable[[Tensor, Tensor], Tensor]"
CUBIC = 0.044715
"""Coefficient of the tanh approximation."""


def bias_gelu(name: str) -> WithBias:
    """(u, bias) → gelu(u + bias), tanh approximation, as the backend `name` computes it."""
    return BIAS_GELU.load(name)


def gelu(name: str) -> Elementwise:
    """The function u → u Φ(u) with the normal distribution's Φ, as the backend `name` computes it."""
    return GELU.load(name)


def bias_glu(name: str) -> WithBias:
    """(u, bias) → a · sigmoid(b), the halves of u + bias, as the backend `name` computes it."""
    return BIAS_GLU.load(name)


def gate(name: str) -> Gate:
    """(y, z) → y · z, as the backend `name` computes it."""
    return GATE.load(name)


def silu_gate(name: str) -> Gate:
    """(y, z) → y · silu(z), as the backend `name` computes it."""
    return SILU_GATE.load(name)


# `floats` of GELU, forward: u in, its GELU out; backward: u and a gradient in, du out.
# The GLU (a channel is an entry of u), forward: u in, half as much out; backward: that half and u in, du out.
# A gate, forward: y, z in, their product out; backward: three in, two gradients out.
BIAS_GELU = Kernel("bias and GELU", __name__, "bias_gelu", normals("xc"), floats=5)
GELU = Kernel("GELU", __name__, "gelu", normals("x"), floats=5)
BIAS_GLU = Kernel("bias and GLU", __name__, "bias_glu", normals("xc"), floats=4)
GATE = Kernel("gate", __name__, "gate", normals("xx"), floats=8)
SILU_GATE = Kernel("SiLU gate", __name__, "silu_gate", normals("xx"), floats=8)
KERNELS = (BIAS_GELU, GELU, BIAS_GLU, GATE, SILU_GATE)
