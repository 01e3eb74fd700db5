"""Launches of the selective scan in CUDA C++ (scan.cu). `bench.kernels.scan.triton` prefers it to its own.

In CUDA C++ the layout of states over threads is explicit. That saves almost half of the instructions that the
gradient needs per state in Triton: on an H200, the gradient of 16 × 64 prompts of 82 tokens with 256 channels
takes 530 µs, and 947 µs in Triton.
"""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from torch import Tensor

from bench.kernels import nvrtc
from bench.kernels.nvrtc import Argument

STATES = (1, 2, 4, 8, 16)
"""Sizes of a state that the kernels take. More numbers would not fit into a thread's registers."""
OLDEST = (8, 0)
"""The lowest compute capability on which the kernels have enough shared memory."""
FILE = Path(__file__).with_name("scan.cu")
CHUNK = 8
"""Tokens between two kept states, in CUDA C++ and in Triton. The backward pass recomputes the states of a
chunk. Those of all programs on a multiprocessor should fit into its cache."""
CHANNELS = 32
"""Channels of a block, which is one warp. A partial sum of dB and dC covers them."""
FORWARD_TYPES = "P" * 11 + "q" * 6 + "i" * 6
BACKWARD_TYPES = "P" * 16 + "q" * 6 + "i" * 10
KERNELS = {"scan_forward": 0, "scan_backward": 1}
"""Values of the macro that leaves the other kernel out, which halves the time to compile."""


def suits(x: Tensor, state: int, *rest: Tensor) -> bool:
    """Whether the kernels take the stacked inputs of the scan, x and the rest, on this machine."""
    return (
        x.is_cuda
        and all(value.dtype == torch.float32 for value in (x, *rest))
        and state in STATES
        and x.shape[2] * x.shape[3] < 2**27  # the kernels address a prompt with 32 bits
        and refusal(torch.cuda.current_device() if x.device.index is None else x.device.index) is None
    )


@functools.cache
def refusal(device: int) -> str | None:
    """Why the kernels cannot run on the GPU `device`; None if they can."""
    if torch.cuda.get_device_capability(device) < OLDEST:
        return f"the GPU's compute capability is below {OLDEST[0]}.{OLDEST[1]}"
    return nvrtc.refusal(device)


def language(device: int) -> str:
    """The language of the scan on the GPU `device`, and the reason, for `bench doctor`."""
    if reason := refusal(device):
        return f"Triton (CUDA C++ cannot run: {reason})"
    return f"CUDA C++ (compiled by NVRTC {'.'.join(map(str, nvrtc.version() or ()))})"


def padded(channels: int) -> int:
    """Channels of the array of kept states: those of whole blocks."""
    return blocks_of(channels) * CHANNELS


def blocks_of(channels: int) -> int:
    """Blocks that process a prompt with so many channels."""
    return -(-channels // CHANNELS)


def forward(
    x: Tensor, step: Tensor, bias: Tensor, A: Tensor, B: Tensor, C: Tensor, skip: Tensor, z: Tensor,
    y: Tensor, delta: Tensor, starts: Tensor,
) -> None:  # fmt: skip
    """Fill y, Δ and the kept states.

    A is (K, N, E), `starts` (K, B, chunks, N, `padded(E)`). Rows of B, C and z are contiguous, and so are all
    other arrays as a whole.
    """
    K, batch, length, channels = x.shape
    blocks = K * batch * blocks_of(channels)
    _launch(
        "scan_forward", FORWARD_TYPES, forward_shared_bytes(B.shape[-1]), blocks, B, C,
        x, step, bias, A, B, C, skip, z, y, delta, starts, *_strides(B, C, z), batch, length, channels,
    )  # fmt: skip


def backward(
    dy: Tensor, x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, skip: Tensor, z: Tensor,
    starts: Tensor, carries: Tensor, spans: Tensor, dx: Tensor, dstep: Tensor, dz: Tensor, by_prompt: Tensor,
    by_block: Tensor, segments: int, span: int,
) -> None:  # fmt: skip
    """Fill dx, dstep, dz and the partial sums, as `triton_gradient.backward` does.

    `forward` of this module has kept the states. A prompt has `segments` segments of `span` chunks. dz may be
    a slice of the last dimension of a contiguous tensor.
    """
    K, batch, length, channels = x.shape
    blocks = K * batch * segments * blocks_of(channels)
    _launch(
        "scan_backward", BACKWARD_TYPES, backward_shared_bytes(B.shape[-1]), blocks, B, C,
        dy, x, delta, A, B, C, skip, z, starts, carries, spans, dx, dstep, dz, by_prompt, by_block,
        *_strides(B, C, z), dz.stride(2), K * batch, batch, length, channels, segments, span,
    )  # fmt: skip


def lanes(state: int) -> int:
    """Lanes of a warp that share channels (scan.cu)."""
    return 4 if state >= 16 else 2 if state >= 4 else 1


def forward_shared_bytes(state: int) -> int:
    """Size of `SharedForward` in scan.cu."""
    return _bytes(4 * CHUNK * 32 + 2 * CHUNK * state // lanes(state) * state)


def backward_shared_bytes(state: int) -> int:
    """Size of `Shared` in scan.cu."""
    states = CHUNK // 2 * state * 32
    return _bytes(states + 5 * CHUNK * 32 + 2 * CHUNK * state // lanes(state) * state)


def _bytes(numbers: int) -> int:
    """Bytes of a structure of so many floats; its entries of four floats are aligned."""
    return -(-numbers // 4) * 16


def _strides(B: Tensor, C: Tensor, z: Tensor) -> tuple[int, ...]:
    outer = tuple(stride for value in (B, C, z) for stride in value.stride()[:2])
    return *outer, B.stride(2), C.stride(2), z.stride(2)


def _aligned(B: Tensor, C: Tensor) -> bool:
    """Whether all rows of B and C begin at multiples of 16 bytes."""
    offsets = [value.data_ptr() % 16 + stride % 4 for value in (B, C) for stride in value.stride()[:3]]
    return not any(offsets)


def _launch(
    name: str, types: str, shared_bytes: int, blocks: int, B: Tensor, C: Tensor, *arguments: Argument
) -> None:
    constants = {
        "STATE": B.shape[-1],
        "CHUNK": CHUNK,
        "ALIGNED": int(_aligned(B, C)),
        "SHARED_BYTES": shared_bytes,
        "KERNEL": KERNELS[name],
    }
    device = B.get_device()
    kernel = nvrtc.load(FILE, name, types, shared_bytes, tuple(constants.items()), device)
    with torch.cuda.device(device):
        kernel(blocks, CHANNELS, arguments)
