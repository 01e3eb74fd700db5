"""The selective scan in Triton: one launch forward, two backward (the second adds partial sums)."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from bench.kernels.operators import operator, rows
from bench.kernels.scan import ARGUMENTS, triton_forward, triton_gradient

CHUNK = 8
"""Tokens between two kept states. The backward pass recomputes the states of a chunk. Those of all programs
on a multiprocessor should fit into its cache."""
FORWARD = {"BLOCK": 32, "UNROLL": 4}
"""Channels of a program, and tokens that it computes together; the latter divides `CHUNK`."""
REGISTERS = 168
"""Limit of registers per thread in the forward pass. With it, three warps fit per scheduler instead of
two."""
BACKWARD = {"BLOCK": 32, "STAGES_AGAIN": 4, "STAGES": 3}
"""Channels of a program; pipeline stages (tokens) of the loop that recomputes states and of the
gradient's."""
SUMS = {"PROMPTS": 64, "CHANNELS": 32, "TOKENS": 16, "BLOCKS": 8}
"""Partial sums that a program of `add_up` adds at once."""


def forward(
    x: Tensor, step: Tensor, bias: Tensor, A: Tensor, B: Tensor, C: Tensor, skip: Tensor, z: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Stacked inputs → y; Δ (K, B, L, E), kept states (K, B, ⌈L/CHUNK⌉, N, E) and A (K, N, E)."""
    K, batch, length, channels = x.shape
    state = A.shape[-1]
    if state & (state - 1):
        raise ValueError(
            f"the triton scan takes states of 1, 2, 4, 8, … numbers, not {state}: use sequential"
        )
    x, step, z, B, C = x.contiguous(), step.contiguous(), rows(z), _aligned(B), _aligned(C)
    y, delta = torch.empty_like(x), torch.empty_like(x)
    A = A.transpose(1, 2).clone(memory_format=torch.contiguous_format)
    starts = x.new_empty(K, batch, triton.cdiv(length, CHUNK), state, channels)
    if starts.numel():
        triton_forward.forward[(K * batch * triton.cdiv(channels, FORWARD["BLOCK"]),)](
            x, step, bias.contiguous(), A, B, C, skip.contiguous(), z, y, delta, starts,
            *B.stride()[:3], *C.stride()[:3], *z.stride()[:3], batch, length, channels,
            STATE=state, CHUNK=CHUNK, WIDE=channels % 16 == 0, num_warps=1, maxnreg=REGISTERS, **FORWARD,
        )  # fmt: skip
    return y, delta, starts, A


def backward(
    dy: Tensor, x: Tensor, step: Tensor, bias: Tensor, A: Tensor, B: Tensor, C: Tensor, skip: Tensor,
    z: Tensor, delta: Tensor, starts: Tensor, tile: Tensor,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Gradients of the inputs, in their order."""
    K, batch, length, channels = x.shape
    state = A.shape[-1]
    blocks = triton.cdiv(channels, BACKWARD["BLOCK"])
    dy, x, delta = dy.contiguous(), x.contiguous(), delta.contiguous()
    wide = channels % 16 == 0
    z, B, C = _aligned(z) if wide else rows(z), rows(B), rows(C)
    dx, dstep, dz = (torch.empty_like(x) for _ in range(3))
    dB, dC = (x.new_empty(K, batch, length, state) for _ in range(2))
    dA, dbias, dskip = x.new_empty(A.shape), x.new_empty(bias.shape), x.new_empty(skip.shape)
    if not starts.numel():
        return dx, dstep, dbias.zero_(), dA.zero_(), dB.zero_(), dC.zero_(), dskip.zero_(), dz
    states = x.new_empty(K, batch, CHUNK, state, channels)
    by_prompt = x.new_empty(K, batch, state + 2, channels)
    by_block = x.new_empty(2, K, batch, length, blocks, state)
    triton_gradient.backward[(K * batch * blocks,)](
        dy, x, delta, tile.contiguous(), B, C, skip.contiguous(), z, starts.contiguous(), states,
        dx, dstep, dz, by_prompt, by_block, *B.stride()[:3], *C.stride()[:3], *z.stride()[:3],
        K * batch, batch, length, channels, STATE=state, CHUNK=CHUNK, WIDE=wide,
        num_warps=1, **BACKWARD,
    )  # fmt: skip
    by_token = 2 * triton.cdiv(K * batch * length, SUMS["TOKENS"])
    by_channel = K * (state + 2) * triton.cdiv(channels, SUMS["CHANNELS"])
    triton_gradient.add_up[(by_token + by_channel,)](
        by_prompt, by_block, dA, dbias, dskip, dB, dC, batch, K * batch * length, blocks, channels,
        STATE=state, **SUMS,
    )  # fmt: skip
    return dx, dstep, dbias, dA, dB, dC, dskip, dz


def _aligned(value: Tensor) -> Tensor:
    """`value` with rows from which a thread can load four numbers at once; copied if it is not aligned."""
    fits = (
        value.stride(-1) == 1 and value.data_ptr() % 16 == 0 and not any(n % 4 for n in value.stride()[:-1])
    )
    return value if fits else value.contiguous()


def _shapes(x: Tensor, step: Tensor, bias: Tensor, A: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
    (K, batch, length, channels), state = x.shape, A.shape[-1]
    kept = x.new_empty(K, batch, -(-length // CHUNK), state, channels), x.new_empty(K, state, channels)
    return x.new_empty(x.shape), x.new_empty(x.shape), *kept


scan = operator("scan_triton", ARGUMENTS, ("delta", "starts", "tile"), forward, backward, _shapes)
