"""Time the kernels of all backends on a GPU: forward and backward, in captured graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.kernels import backends, registry
from bench.kernels.inputs import INPUTS, STATE

BATCH = 64
CHANNELS = (256, 512, 1536)
LENGTHS = (82, 202, 280, 1024)
FLOOR = "memory floor"
OWN_LAYOUT = "mamba_ssm, own layout"


@dataclass(frozen=True)
class Speed:
    """The time of a kernel at a size.

    Attributes:
        kernel: name of the kernel.
        backend: name of the backend; `FLOOR` is the time to copy as many bytes as the kernel must move.
        channels: inner width E.
        length: tokens L.
        microseconds: forward and backward of `BATCH` prompts; None if memory does not suffice.
    """

    kernel: str
    backend: str
    channels: int
    length: int
    microseconds: float | None


def microseconds(function: Callable[[], object], repeats: int = 9) -> float:
    """Median time of one call on the GPU, from replays of a graph that holds enough calls to be timed."""
    time = _replays(function, 1, repeats)
    calls = max(1, min(20, int(2000 / max(time, 1.0))))
    return time if calls == 1 else _replays(function, calls, repeats)


def copy_bandwidth(device: torch.device) -> float:
    """Bytes per second of a large copy, read and written bytes."""
    source = torch.empty(1 << 28, dtype=torch.uint8, device=device).random_()
    target = torch.empty_like(source)
    return 2 * source.numel() / (microseconds(lambda: target.copy_(source)) * 1e-6)


def measure(device: torch.device) -> Iterator[Speed]:
    """Time the kernels of every backend but the reference, which is not meant to be fast."""
    bandwidth = copy_bandwidth(device)
    for kernel, inputs in INPUTS.items():
        for channels in CHANNELS:
            for length in LENGTHS:
                values = [value.to(device) for value in inputs(length, BATCH, channels)]
                for name in registry.own_backends(kernel):
                    if name == "reference" or backends.unavailable(name, str(device)):
                        continue
                    function = registry.load(kernel, name)
                    time = _forward_and_backward(function, values)
                    yield Speed(kernel, name, channels, length, time)
                    if name == "mamba_ssm" and kernel == "selective scan":
                        yield Speed(kernel, OWN_LAYOUT, channels, length, _own_layout(values))
                floor = 4e6 * _floats(kernel, channels, length) / bandwidth
                yield Speed(kernel, FLOOR, channels, length, floor)


def _replays(function: Callable[[], object], calls: int, repeats: int) -> float:
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        function()
        function()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.empty_cache()  # the graph cannot reuse memory that the side stream cached
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(calls):
            function()
    graph.replay()
    times = []
    for _ in range(repeats):
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        began.record()
        graph.replay()
        ended.record()
        torch.cuda.synchronize()
        times.append(float(began.elapsed_time(ended)))
    return 1e3 * sorted(times)[repeats // 2] / calls


def _forward_and_backward(function: Callable[..., Any], values: list[Tensor]) -> float | None:
    inputs = [value.clone().requires_grad_(value.is_floating_point()) for value in values]
    differentiable = [value for value in inputs if value.requires_grad]

    def outputs() -> tuple[Tensor, ...]:
        results = function(*inputs)
        return (results,) if isinstance(results, Tensor) else tuple(results)

    def both() -> None:
        torch.autograd.grad(outputs(), differentiable, gradients)

    try:
        gradients = [torch.randn_like(y, memory_format=torch.contiguous_format) for y in outputs()]
        return microseconds(both)
    except torch.OutOfMemoryError:
        return None
    finally:
        torch.cuda.empty_cache()


def _own_layout(values: list[Tensor]) -> float | None:
    """The official scan on channels-first tensors: without the transpositions that its use here needs."""
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    x, step, bias, A, B, C, skip, z = values
    first = [value.transpose(1, 2).contiguous() for value in (x, step, B, C, z)]

    def scan(x: Tensor, step: Tensor, B: Tensor, C: Tensor, z: Tensor, A: Tensor, skip: Tensor, bias: Tensor):  # type: ignore[no-untyped-def]
        return selective_scan_fn(x, step, A, B, C, skip, z, bias, delta_softplus=True)

    return _forward_and_backward(scan, [*first, A, skip, bias])


def _floats(kernel: str, channels: int, length: int) -> int:
    """The smallest number of floats that a kernel must move, forward and backward."""
    of_state = 6 * STATE if kernel == "selective scan" else 0  # B and C
    return BATCH * length * (FLOATS[kernel] * channels + of_state)


FLOATS = {
    "selective scan": 11,  # forward: x, step, z in, y out; backward: these and dy in, three gradients out
    "short convolution": 5,  # forward: x in, y out; backward: x and dy in, dx out
    "Mamba block": 27,  # x, z: 2 and 4; convolution 5, products 5, scan 11; D and the low rank do not count
    "gated input": 11,  # z: 1 and 1; x: 1 and 1; the convolution; half as wide h and dh: 1 and 1
    "diagonal SSM": 5,  # as the convolution
    "delta rule": 11,  # forward: q, k, v in, y out; backward: these and dy in, three gradients out
    "vector delta rule": 14,  # as the vector decay
    "diagonal plus rank one": 20,  # the same with two keys more
    "RWKV-7 keys": 17,  # forward: three in, four out; backward: these seven in, three gradients out
    "RWKV-7 outputs": 17,  # forward: five in, one out; backward: these five and one in, five gradients out
    "scalar decay": 5,  # as the convolution; queries, keys and decays are shared by many channels
    "vector decay": 14,  # forward: q, k, v, g in, y out; backward: these and dy in, four gradients out
    "mLSTM": 11,  # as the delta rule
    "attention": 12,  # forward: q, k, v in, y out; backward: these, y and dy in, three gradients out
    "attention with dropout": 12,  # the same: masks are not in memory
    "norm": 5,  # as the convolution
    "addition and norm": 8,  # forward: two in, two out; backward: the total, two gradients in, one out
    "norm of a sum": 7,  # the same without the total's gradient
    "RMS norm": 5,  # as LayerNorm
    "addition and RMS norm": 8,
    "RMS norm of a sum": 7,
    "bias and GELU": 5,
    "GELU": 5,
    "bias and GLU": 4,  # forward: u in, half as much out; backward: that half and u in, du out
    "gate": 8,  # forward: y, z in, their product out; backward: three in, two gradients out
    "SiLU gate": 8,
    "product": 5,  # the time of multiplication is not counted
    "product and bias": 5,
}
"""Floats that a kernel must move per token and channel. For the GLU, a channel is an entry of u."""
