"""Launches of the selective scan in CUDA C++ (scan.cu), which `bench.kernels.scan.triton` prefers to Triton's.

In CUDA C++ the layout of states over threads is explicit. That saves almost half of the instructions per state of
the gradient in Triton.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from bench.kernels import nvrtc
from bench.kernels.nvrtc import Argument

FORWARD, BACKWARD = True, True
"""Whether to use the CUDA C++ kernels where they can run. The forward pass may only be used with the gradient,
because they share a layout of the kept states."""
STATES = (1, 2, 4, 8, 16)
"""Sizes of a state that the kernels take."""
FILE = Path(__file__).with_name("scan.cu")
CHUNK = 8
"""Tokens between two kept states, as in `bench.kernels.scan.triton`."""
FORWARD_SHAPE = {"WARPS": 1, "RESIDENT": 12, "UNROLL": 2}
"""Warps of a block (32 channels each), blocks per multiprocessor for which registers must suffice, and tokens that the
recurrence's loop has in its body."""
BACKWARD_SHAPE = {"WARPS": 1, "RESIDENT": 8, "UNROLL": 1, "REVERSE_UNROLL": 2, "PAIRS": 0, "PREFETCH": 1}
"""The same for the gradient. `PAIRS` keeps only every other state of a chunk in shared memory and computes the
rest again. `PREFETCH` fetches the next chunk into the L2 cache."""
FORWARD_TYPES = "P" * 11 + "q" * 6 + "i" * 6
BACKWARD_TYPES = "P" * 16 + "q" * 6 + "i" * 9


def suits(x: Tensor, state: int) -> bool:
    """Whether the kernels take these inputs, on this machine."""
    return (
        x.is_cuda
        and x.dtype == torch.float32
        and state in STATES
        and x.shape[2] * x.shape[3] < 2**27  # the kernels address a prompt with 32 bits
        and torch.cuda.get_device_capability(x.device) >= (8, 0)
        and nvrtc.version() is not None
    )


def padded(channels: int) -> int:
    """Channels of the array of kept states: whole warps."""
    return -(-channels // 32) * 32


def forward(
    x: Tensor, step: Tensor, bias: Tensor, A: Tensor, B: Tensor, C: Tensor, skip: Tensor, z: Tensor,
    y: Tensor, delta: Tensor, starts: Tensor,
) -> None:  # fmt: skip
    """Fill y, Δ and the kept states.

    A is (K, N, E). Rows of B, C and z are contiguous, all other arrays wholly so.
    """
    K, batch, length, channels = x.shape
    arrays = (x, step, bias, A, B, C, skip, z, y, delta, starts)
    constants = {**_constants(B, C), "NATIVE": 1, **FORWARD_SHAPE}
    shared = forward_shared_bytes(constants)
    blocks = -(-channels // (32 * constants["WARPS"]))
    arguments = (*arrays, *_strides(B, C, z), batch, length, channels)
    _launch("scan_forward", FORWARD_TYPES, shared, constants, K * batch * blocks, x, arguments)


def backward(
    dy: Tensor, x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, skip: Tensor, z: Tensor,
    starts: Tensor, carries: Tensor, spans: Tensor, dx: Tensor, dstep: Tensor, dz: Tensor, by_prompt: Tensor,
    by_block: Tensor, segments: int, span: int, native: bool,
) -> None:  # fmt: skip
    """Fill dx, dstep, dz and the partial sums, as `triton_gradient.backward` does.

    Args:
        segments: of a prompt.
        span: chunks of a segment.
        native: whether `forward` of this module has kept the states; otherwise they are (K, B, chunks, N, E).
    """
    K, batch, length, channels = x.shape
    arrays = (dy, x, delta, A, B, C, skip, z, starts, carries, spans, dx, dstep, dz, by_prompt, by_block)
    constants = {**_constants(B, C), "NATIVE": int(native), **BACKWARD_SHAPE}
    arguments = (*arrays, *_strides(B, C, z), K * batch, batch, length, channels, segments, span)
    blocks = K * batch * segments * -(-channels // block_channels())
    shared = backward_shared_bytes(constants)
    _launch("scan_backward", BACKWARD_TYPES, shared, constants, blocks, x, arguments)


def block_channels() -> int:
    """Channels of a block of the gradient, which a partial sum of dB and dC covers."""
    return 32 * BACKWARD_SHAPE["WARPS"]


def lanes(state: int) -> int:
    """Lanes of a warp that share channels (scan.cu)."""
    return 4 if state >= 16 else 2 if state >= 4 else 1


def forward_shared_bytes(constants: dict[str, int]) -> int:
    """Size of `SharedForward` in scan.cu."""
    state = constants["STATE"]
    return _bytes(4 * constants["WARPS"] * CHUNK * 32 + 2 * CHUNK * state // lanes(state) * state)


def backward_shared_bytes(constants: dict[str, int]) -> int:
    """Size of `Shared` in scan.cu."""
    state, warps = constants["STATE"], constants["WARPS"]
    kept = CHUNK // 2 if constants["PAIRS"] else CHUNK - 1
    per_warp = kept * state * 32 + 5 * CHUNK * 32
    sums = (CHUNK if warps > 1 else 1) * warps * 2 * state
    return _bytes(warps * per_warp + 2 * CHUNK * state // lanes(state) * state + sums)


def _bytes(numbers: int) -> int:
    """Bytes of a structure of so many floats; its entries of four floats are aligned."""
    return -(-numbers // 4) * 16


def _constants(B: Tensor, C: Tensor) -> dict[str, int]:
    """Macros that depend on the inputs. `ALIGNED`: whether rows of B and C begin at multiples of 16 bytes."""
    aligned = all(
        value.data_ptr() % 16 == 0 and not any(stride % 4 for stride in value.stride()[:3]) for value in (B, C)
    )
    return {"STATE": B.shape[-1], "CHUNK": CHUNK, "ALIGNED": int(aligned)}


def _strides(B: Tensor, C: Tensor, z: Tensor) -> tuple[int, ...]:
    over = tuple(stride for value in (B, C, z) for stride in value.stride()[:2])
    return *over, B.stride(2), C.stride(2), z.stride(2)


def _launch(
    name: str, types: str, shared_bytes: int, constants: dict[str, int], blocks: int, x: Tensor,
    arguments: tuple[Argument, ...],
) -> None:  # fmt: skip
    constants = {**constants, "SHARED_BYTES": shared_bytes, "KERNEL": KERNELS[name]}
    kernel = nvrtc.load(FILE, name, types, shared_bytes, tuple(constants.items()), x.get_device())
    with torch.cuda.device_of(x):
        kernel(blocks, 32 * constants["WARPS"], arguments)


KERNELS = {"scan_forward": 0, "scan_backward": 1}
"""Values of the macro that leaves the other kernel out, which halves the time to compile."""
