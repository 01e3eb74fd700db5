"""The time of each kernel in a training step: the profiler's events of a few steps, summed by kernel."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from bench.speed.records import KernelTime

STEPS = 5
"""Profiled steps. Times and launches are means over them."""

GROUPS: tuple[tuple[str, str], ...] = (
    ("copies and fills", r"memcpy|memset|copy_|fill_|zero_|FillFunctor|direct_copy|CatArray|aten::cat"),
    (
        "matrix products",
        r"gemm|gemv|cutlass|cublas|splitK|wgmma|::(add)?mm\b|::(b|baddb)mm\b|::matmul|::linear",
    ),
    ("attention", r"attention|attn|flash|fmha|softmax"),
    ("selective scan", r"scan_(fwd|bwd)|selective|cumsum|\bscan"),
    ("convolution", r"conv"),
    ("diagonal SSM", r"_recurrence|_parameter_gradients|to_parameters"),
    ("activations", r"_gelu|_glu|_gate"),
    ("norms", r"layer_?norm|_norm_|norm_kernel|GammaBeta"),
    ("clip and Adam", r"adam|sum_squares|\bfinish\b|multi_tensor"),
    ("draws", r"_draw|_subset|_ramp|random|philox|distribution"),
    ("Fourier transforms", r"fft"),
    ("sums", r"reduce|_add_up|_column_sums|_repeat_rows|::sum|::mean"),
    (
        "elementwise",
        r"elementwise|vectorized|::(add|sub|mul|div|neg|exp|pow|sqrt|gelu|silu|sigmoid|where|to)_?\b",
    ),
)
"""Groups of kernels and patterns of their names. The first match counts; without a match the group is
"other".

Several Triton kernels of this project are named `forward` or `backward`, which matches no group.
"""
OTHER = "other"


def group_of(name: str) -> str:
    """The group of a kernel, by its name."""
    return next((group for group, pattern in GROUPS if re.search(pattern, name, re.IGNORECASE)), OTHER)


def launches_per_step(step: Callable[[], object], device: torch.device) -> float:
    """Kernels, copies and fills that one step starts on the GPU."""
    return sum(launches for _, _, launches in _events(step, device)) / STEPS


def kernel_times(step: Callable[[], object], device: torch.device) -> tuple[KernelTime, ...]:
    """All kernels of a step, longest first. On a CPU: all operators, without the operators they call."""
    return summed(_events(step, device), STEPS)


def summed(events: Iterable[tuple[str, float, int]], steps: int) -> tuple[KernelTime, ...]:
    """Events (name, microseconds, launches) of several steps, by name and per step, the longest first."""
    times: dict[str, float] = defaultdict(float)
    launches: dict[str, int] = defaultdict(int)
    for name, microseconds, count in events:
        times[name] += microseconds
        launches[name] += count
    return tuple(
        KernelTime(name, group_of(name), times[name] / steps, launches[name] / steps)
        for name in sorted(times, key=lambda name: (-times[name], name))
    )


def _events(step: Callable[[], object], device: torch.device) -> list[tuple[str, float, int]]:
    """(name, microseconds, launches) of what `STEPS` steps do on the device."""
    on_gpu = device.type == "cuda"
    activity = ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU
    if on_gpu:  # the first profile of a process starts the tracer and may miss events
        with profile(activities=[activity], acc_events=True):
            step()
            torch.cuda.synchronize(device)
    with profile(activities=[activity], acc_events=True) as profiler:
        for _ in range(STEPS):
            step()
        if on_gpu:
            torch.cuda.synchronize(device)
    if on_gpu:
        return device_events(profiler.events() or ())
    return [(event.key, float(event.self_cpu_time_total), event.count) for event in profiler.key_averages()]


def device_events(events: Iterable[Any]) -> list[tuple[str, float, int]]:
    """A profiler's events on the GPU, without annotated ranges: (name, microseconds, launches)."""
    return [
        (event.name, float(event.time_range.elapsed_us()), 1)
        for event in events
        if event.device_type.name == "CUDA" and not _is_annotation(event)
    ]


def _is_annotation(event: Any) -> bool:
    """Whether an event on the device's timeline is only an annotated range, such as a profiler step."""
    return bool(getattr(event, "is_user_annotation", False))
