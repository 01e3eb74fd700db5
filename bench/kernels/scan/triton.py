"""The selective scan on a GPU: one launch forward, two backward (the second adds partial sums).

If prompts are cut into segments, the backward pass has one launch more. The two large kernels exist in CUDA
C++ too, and those run where they can (`bench.kernels.scan.cuda`). They fill the same arrays, but kept states
in a different order.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from bench.kernels.operators import operator, rows
from bench.kernels.scan import ARGUMENTS, cuda, triton_forward, triton_gradient

CHUNK = cuda.CHUNK
FORWARD = {"BLOCK": 32, "UNROLL": 4}
"""Channels of a program, and tokens that it computes together, a divisor of `CHUNK`."""
REGISTERS = 168
"""Limit of registers per thread in the forward pass. With it, three warps fit per scheduler instead of
two."""
BACKWARD = {"BLOCK": 32, "CHUNK": CHUNK}
"""Channels of a program of the backward pass, and tokens between two kept states."""
CARRIES_STAGES, BACKWARD_STAGES = {"STAGES": 4}, {"STAGES_AGAIN": 4, "STAGES": 3}
"""Pipeline stages (tokens) of the loops over tokens; `STAGES_AGAIN` is that of the loop that recomputes
states."""
PROGRAMS, SEGMENTS = 1024, 4
"""Prompts are cut into `SEGMENTS` segments if that makes at most `PROGRAMS` programs. On an H200, 64 prompts
of 82 tokens took 36 µs instead of 66 with 64 channels, 53 instead of 69 with 128, but 100 instead of 86 with
256, where there are enough programs without segments."""
SUMS = {"PROMPTS": 64, "CHANNELS": 32, "TOKENS": 16, "BLOCKS": 8}
"""Partial sums that a program of `add_up` adds at once."""


def forward(
    x: Tensor, step: Tensor, bias: Tensor, A: Tensor, B: Tensor, C: Tensor, skip: Tensor, z: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Stacked inputs → y; Δ (K, B, L, E), kept states (K, B, ⌈L/CHUNK⌉, N, E) and A (K, N, E)."""
    tile = A.transpose(1, 2).clone(memory_format=torch.contiguous_format)
    return *run(x, step, bias, tile, B, C, skip, z), tile


def run(
    x: Tensor, step: Tensor, bias: Tensor, tile: Tensor, B: Tensor, C: Tensor, skip: Tensor, z: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """`forward` of a contiguous `tile`, A as (K, N, E) → y, Δ and kept states."""
    K, batch, length, channels = x.shape
    state = tile.shape[1]
    if state & (state - 1):
        raise ValueError(
            f"the triton scan takes states of 1, 2, 4, 8, … numbers, not {state}: use sequential"
        )
    in_cuda = cuda.suits(x, state, bias, tile, B, C, skip, z)
    rows_of = rows if in_cuda else _aligned
    x, step, z, B, C = x.contiguous(), step.contiguous(), rows(z), rows_of(B), rows_of(C)
    y, delta = torch.empty_like(x), torch.empty_like(x)
    starts = x.new_empty(_starts_shape(x, state, in_cuda))
    if starts.numel() and in_cuda:
        cuda.forward(x, step, bias.contiguous(), tile, B, C, skip.contiguous(), z, y, delta, starts)
    elif starts.numel():
        triton_forward.forward[(K * batch * triton.cdiv(channels, FORWARD["BLOCK"]),)](
            x, step, bias.contiguous(), tile, B, C, skip.contiguous(), z, y, delta, starts,
            *B.stride()[:3], *C.stride()[:3], *z.stride()[:3], batch, length, channels,
            STATE=state, CHUNK=CHUNK, WIDE=channels % 16 == 0, num_warps=1, maxnreg=REGISTERS, **FORWARD,
        )  # fmt: skip
    return y, delta, starts


def backward(
    dy: Tensor, x: Tensor, step: Tensor, bias: Tensor, A: Tensor, B: Tensor, C: Tensor, skip: Tensor,
    z: Tensor, delta: Tensor, starts: Tensor, tile: Tensor,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Gradients of the inputs, in their order."""
    dB, dC, dz = (x.new_empty(value.shape) for value in (B, C, z))
    dx, dstep, dbias, dA, dskip = differentiate(
        dy, x, bias, tile.contiguous(), B, C, skip, z, delta, starts, dB, dC, dz
    )
    return dx, dstep, dbias, dA, dB, dC, dskip, dz


def differentiate(
    dy: Tensor, x: Tensor, bias: Tensor, tile: Tensor, B: Tensor, C: Tensor, skip: Tensor, z: Tensor,
    delta: Tensor, starts: Tensor, dB: Tensor, dC: Tensor, dz: Tensor,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Fill dB, dC and dz; return the gradients of x, step, bias, A (K, E, N) and skip.

    Those to fill are contiguous, or slices of the last dimension of contiguous tensors: dB and dC of tensors
    of equal widths, dz of one whose width is a multiple of E.
    """
    K, batch, length, channels = x.shape
    state = tile.shape[1]
    dy, x, delta = (value.contiguous() for value in (dy, x, delta))
    wide = channels % 16 == 0
    in_cuda = cuda.suits(x, state, bias, tile, B, C, skip, z)
    z, B, C = _aligned(z) if wide else rows(z), rows(B), rows(C)
    dx, dstep = torch.empty_like(x), torch.empty_like(x)
    dA, dbias, dskip = x.new_empty(K, channels, state), x.new_empty(bias.shape), x.new_empty(skip.shape)
    if not starts.numel():
        for value in (dB, dC, dA, dbias, dskip):
            value.zero_()
        return dx, dstep, dbias, dA, dskip
    chunks, groups = triton.cdiv(length, CHUNK), triton.cdiv(channels, BACKWARD["BLOCK"])
    segments = _segments(K * batch * groups, chunks)
    grid = (K * batch * segments * groups,)
    sizes = batch, length, channels, triton.cdiv(chunks, segments)
    constants = {"STATE": state, "SEGMENTS": segments, "WIDE": wide, "num_warps": 1, **BACKWARD}
    carries, spans = (x.new_empty(K, batch, segments, *size, channels) for size in ((state,), ()))
    if segments > 1:
        triton_gradient.segment_carries[grid](
            dy, delta, tile, C, z, carries, spans, *C.stride()[:3], *z.stride()[:3], *sizes,
            **CARRIES_STAGES, **constants,
        )  # fmt: skip
    blocks = cuda.blocks_of(channels) if in_cuda else groups
    by_prompt = x.new_empty(K, batch * segments, state + 2, channels)
    by_block = x.new_empty(2, K, batch, length, blocks, state)
    skip, starts = skip.contiguous(), starts.contiguous()
    if in_cuda:
        cuda.backward(
            dy, x, delta, tile, B, C, skip, z, starts, carries, spans, dx, dstep, dz, by_prompt, by_block,
            segments, sizes[-1],
        )  # fmt: skip
    else:
        states = x.new_empty(K, batch, segments, CHUNK, state, channels)
        triton_gradient.backward[grid](
            dy, x, delta, tile, B, C, skip, z, starts, states, carries, spans, dx, dstep, dz, by_prompt,
            by_block, *B.stride()[:3], *C.stride()[:3], *z.stride()[:3], dz.stride(2), K * batch, *sizes,
            **BACKWARD_STAGES, **constants,
        )  # fmt: skip
    by_token = 2 * triton.cdiv(K * batch * length, SUMS["TOKENS"])
    by_channel = K * (state + 2) * triton.cdiv(channels, SUMS["CHANNELS"])
    triton_gradient.add_up[(by_token + by_channel,)](
        by_prompt, by_block, dA, dbias, dskip, dB, dC, dB.stride(2), batch * segments, K * batch * length,
        blocks, channels, STATE=state, **SUMS,
    )  # fmt: skip
    return dx, dstep, dbias, dA, dskip


def _segments(programs: int, chunks: int) -> int:
    """Segments of a prompt of `chunks` chunks, if there are `programs` programs without segments."""
    return SEGMENTS if programs * SEGMENTS <= PROGRAMS and chunks >= 2 * SEGMENTS else 1


def _starts_shape(x: Tensor, state: int, in_cuda: bool) -> tuple[int, ...]:
    """Shape of the kept states. In CUDA C++ they have the order of its lanes, and all lanes of a block."""
    K, batch, length, channels = x.shape
    return K, batch, -(-length // CHUNK), state, cuda.padded(channels) if in_cuda else channels


def _aligned(value: Tensor) -> Tensor:
    """`value` with rows from which a thread can load four numbers at once; copied if it is not aligned."""
    fits = (
        value.stride(-1) == 1 and value.data_ptr() % 16 == 0 and not any(n % 4 for n in value.stride()[:-1])
    )
    return value if fits else value.contiguous()


def _shapes(
    x: Tensor, step: Tensor, bias: Tensor, A: Tensor, B: Tensor, C: Tensor, skip: Tensor, z: Tensor
) -> tuple[Tensor, ...]:
    tile = x.new_empty(x.shape[0], A.shape[-1], x.shape[3])
    return *shapes(x, bias, tile, B, C, skip, z), tile


def shapes(x: Tensor, bias: Tensor, tile: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Empty tensors like the results of `run`; `rest` is B, C, skip and z."""
    state = tile.shape[1]
    starts = x.new_empty(_starts_shape(x, state, cuda.suits(x, state, bias, tile, *rest)))
    return x.new_empty(x.shape), x.new_empty(x.shape), starts


scan = operator("scan_triton", ARGUMENTS, ("delta", "starts", "tile"), forward, backward, _shapes)
