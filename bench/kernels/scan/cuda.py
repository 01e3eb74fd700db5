"""Launches of the selective scan in CUDA C++ (scan.cu). `bench.kernels.scan.triton` prefers it to its own.

In CUDA C++ the layout of states over threads is explicit. That saves almost half of the instructions that the
gradient needs per state in Triton.
"""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from torch import Tensor

from bench.kernels import nvrtc
from bench.kernels.nvrtc import Argument

BACKWARD = True
"""Whether to compute the gradient in CUDA C++ where that can run."""
FORWARD = True
"""Whether to compute the forward pass in CUDA C++, if the gradient is. Both then use a layout of kept states
that suits their threads."""
STATES = (1, 2, 4, 8, 16)
"""Sizes of a state that the kernels take. More numbers would not fit into a thread's registers."""
OLDEST = (8, 0)
"""The lowest compute capability on which the kernels have enough shared memory."""
FILE = Path(__file__).with_name("scan.cu")
CHUNK = 8
"""Tokens between two kept states, in CUDA C++ and in Triton. The backward pass recomputes the states of a
chunk. Those of all programs on a multiprocessor should fit into its cache."""
FORWARD_SHAPE = {"WARPS": 1, "RESIDENT": 12, "UNROLL": 2}
"""`WARPS` of a block (32 channels each), blocks per multiprocessor for which registers must suffice
(`RESIDENT`), and tokens in the body of the loop (`UNROLL`)."""
BACKWARD_SHAPE = {"WARPS": 1, "RESIDENT": 8, "UNROLL": 1, "REVERSE_UNROLL": 1, "PAIRS": 1, "PREFETCH": 1}
"""The same for the gradient. `UNROLL` counts pairs of tokens in the body of the loop that recomputes states,
`REVERSE_UNROLL` tokens in the body of the loop that goes back. `PAIRS` keeps every other state of a chunk in
shared memory and recomputes the rest once more: 5 % more instructions and a sixth less traffic of shared
memory. `PREFETCH` fetches the next chunk into the L2 cache. On an H200, the gradient of 16 × 64 prompts of 82
tokens with 256 channels takes 530 µs so, 563 µs without `PAIRS`, 552 µs with twelve warps per multiprocessor,
which spill registers, and 947 µs in Triton."""
FORWARD_TYPES = "P" * 11 + "q" * 6 + "i" * 6
BACKWARD_TYPES = "P" * 16 + "q" * 6 + "i" * 9
KERNELS = {"scan_forward": 0, "scan_backward": 1}
"""Values of the macro that leaves the other kernel out, which halves the time to compile."""


def suits(*inputs: Tensor) -> bool:
    """Whether the kernels take the stacked inputs of the scan, on this machine."""
    x, A = inputs[0], inputs[3]
    return (
        x.is_cuda
        and all(value.dtype == torch.float32 for value in inputs)
        and A.shape[-1] in STATES
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
    if not BACKWARD:
        return "Triton (CUDA C++ is switched off)"
    if reason := refusal(device):
        return f"Triton (CUDA C++ cannot run: {reason})"
    return f"CUDA C++ (compiled by NVRTC {'.'.join(map(str, nvrtc.version() or ()))})"


def padded(channels: int) -> int:
    """Channels of the array of kept states: whole warps."""
    return -(-channels // 32) * 32


def forward(
    x: Tensor, step: Tensor, bias: Tensor, A: Tensor, B: Tensor, C: Tensor, skip: Tensor, z: Tensor,
    y: Tensor, delta: Tensor, starts: Tensor,
) -> None:  # fmt: skip
    """Fill y, Δ and the kept states.

    A is (K, N, E), `starts` (K, B, chunks, N, `padded(E)`). Rows of B, C and z are contiguous, and so are all
    other arrays as a whole.
    """
    K, batch, length, channels = x.shape
    constants = {**_constants(B, C), "NATIVE": 1, **FORWARD_SHAPE}
    blocks = K * batch * -(-channels // (32 * constants["WARPS"]))
    shared_bytes = forward_shared_bytes(constants)
    _launch(
        "scan_forward", FORWARD_TYPES, constants, shared_bytes, blocks,
        x, step, bias, A, B, C, skip, z, y, delta, starts, *_strides(B, C, z), batch, length, channels,
    )  # fmt: skip


def backward(
    dy: Tensor, x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, skip: Tensor, z: Tensor,
    starts: Tensor, carries: Tensor, spans: Tensor, dx: Tensor, dstep: Tensor, dz: Tensor, by_prompt: Tensor,
    by_block: Tensor, segments: int, span: int, native: bool,
) -> None:  # fmt: skip
    """Fill dx, dstep, dz and the partial sums, as `triton_gradient.backward` does.

    A prompt has `segments` segments of `span` chunks. `native`: whether `forward` of this module has kept the
    states; otherwise `starts` is (K, B, chunks, N, E).
    """
    K, batch, length, channels = x.shape
    constants = {**_constants(B, C), "NATIVE": int(native), **BACKWARD_SHAPE}
    blocks = K * batch * segments * -(-channels // block_channels())
    shared_bytes = backward_shared_bytes(constants)
    _launch(
        "scan_backward", BACKWARD_TYPES, constants, shared_bytes, blocks,
        dy, x, delta, A, B, C, skip, z, starts, carries, spans, dx, dstep, dz, by_prompt, by_block,
        *_strides(B, C, z), K * batch, batch, length, channels, segments, span,
    )  # fmt: skip


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
    """Macros that depend on the inputs. `ALIGNED`: rows of B and C begin at multiples of 16 bytes."""
    offsets = [value.data_ptr() % 16 + stride % 4 for value in (B, C) for stride in value.stride()[:3]]
    return {"STATE": B.shape[-1], "CHUNK": CHUNK, "ALIGNED": int(not any(offsets))}


def _strides(B: Tensor, C: Tensor, z: Tensor) -> tuple[int, ...]:
    outer = tuple(stride for value in (B, C, z) for stride in value.stride()[:2])
    return *outer, B.stride(2), C.stride(2), z.stride(2)


def _launch(
    name: str, types: str, constants: dict[str, int], shared_bytes: int, blocks: int, *arguments: Argument
) -> None:
    constants = {**constants, "SHARED_BYTES": shared_bytes, "KERNEL": KERNELS[name]}
    device = next(value.get_device() for value in arguments if isinstance(value, Tensor))
    kernel = nvrtc.load(FILE, name, types, shared_bytes, tuple(constants.items()), device)
    with torch.cuda.device(device):
        kernel(blocks, 32 * constants["WARPS"], arguments)
