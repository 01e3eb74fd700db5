"""Compare the outputs and all gradients of every kernel with its reference implementation.

The reference runs in float64 on the same inputs, so the measured error is the kernel's. `bench doctor` prints
the errors. Every training process tests the kernels that it will use, and stores the outcome with its
results.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.kernels import backends, registry
from bench.kernels.adam import AdamSettings, Buffers
from bench.kernels.dropout import site
from bench.kernels.product import precision

LENGTHS = (82, 202, 280, 303, 1024)
"""Prompt lengths of the study. Only 1024 is a power of two."""
BRIEF = (82,)
FOREIGN = (19, 82, 202)
"""Lengths on both sides of 64, where libraries change kernels."""
TOLERANCE = {"outputs": 1e-5, "gradients": 1e-4}
BATCH, CHANNELS, STATE, TAPS, HEADS = 2, 32, 16, 4, 2


@dataclass(frozen=True)
class Outcome:
    """The test of a kernel's backend at a length.

    Attributes:
        kernel: name of the kernel.
        backend: name of the backend.
        length: tokens of a prompt.
        outputs: largest error of the outputs, relative to the largest output.
        gradients: largest error of all gradients, each relative to its own largest entry.
        milliseconds: time of one forward and backward pass, after a warm-up.
        unavailable: why the backend could not run; the numbers are then None.
    """

    kernel: str
    backend: str
    length: int | None = None
    outputs: float | None = None
    gradients: float | None = None
    milliseconds: float | None = None
    unavailable: str | None = None

    @property
    def agrees(self) -> bool:
        """Whether both errors were measured and are within the tolerances."""
        return (
            self.outputs is not None
            and self.gradients is not None
            and self.outputs <= TOLERANCE["outputs"]
            and self.gradients <= TOLERANCE["gradients"]
        )


def self_test(device: torch.device, names: tuple[str, ...], lengths: tuple[int, ...]) -> list[Outcome]:
    """Test every kernel of the named backends on `device`, at every length."""
    outcomes = []
    for kernel, inputs in KERNELS.items():
        reference = registry.load(kernel, "reference")
        for name in names:
            if name not in registry.backends_of(kernel):
                continue
            if why := backends.unavailable(name, str(device)):
                outcomes.append(Outcome(kernel, name, unavailable=why))
                continue
            for length in lengths:
                values = [value.to(device) for value in inputs(length)]
                outcomes.append(
                    _compare(kernel, name, length, registry.load(kernel, name), reference, values)
                )
    usable = [name for name in names if not backends.unavailable(name, str(device))]
    return outcomes + [_compare_updates(name, device) for name in usable]


def fault(kernel: str, function: Callable[..., Any], device: torch.device) -> str | None:
    """Why another library's function must not compute `kernel` on `device`, as a sentence; None if it may.

    Its outputs and all its gradients must be those of the reference, and the same bits when they are computed
    again.
    """
    reference = registry.load(kernel, "reference")
    with torch.enable_grad():
        for length in FOREIGN:
            values = [value.to(device) for value in KERNELS[kernel](length)]
            try:
                outcome = _compare(kernel, "foreign", length, function, reference, values)
                (y, gradients), (again, others) = (_outputs_and_gradients(function, values) for _ in range(2))
            except Exception as error:  # the library's code can raise anything
                return f"it fails on {device}: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
            if not outcome.agrees:
                return (
                    f"it disagrees with the reference on {device} at {length} tokens: its outputs by "
                    f"{outcome.outputs:.1e}, its gradients by {outcome.gradients:.1e}; at most "
                    f"{TOLERANCE['outputs']:.0e} and {TOLERANCE['gradients']:.0e} are allowed"
                )
            if not all(map(torch.equal, (y, *gradients), (again, *others))):
                return f"it is not deterministic on {device}: the same inputs gave other bits a second time"
    return None


def _scan_inputs(length: int, batch: int = BATCH, channels: int = CHANNELS) -> list[Tensor]:
    """Inputs with magnitudes and signs as in a trained Mamba."""
    normal = _normal(length)
    return [
        normal(batch, length, channels),
        normal(batch, length, channels),
        normal(channels) - 3,
        -torch.arange(1, STATE + 1).float().repeat(channels, 1),
        normal(batch, length, STATE),
        normal(batch, length, STATE),
        normal(channels),
        normal(batch, length, channels),
    ]


def _mamba_inputs(length: int, batch: int = BATCH, channels: int = CHANNELS) -> list[Tensor]:
    """A block whose input is half as wide as its inner channels, with weights as at the start."""
    normal, width, rank = _normal(length), channels // 2, 4

    def weight(outputs: int, inputs: int) -> Tensor:
        return normal(outputs, inputs) / math.sqrt(inputs)

    return [
        normal(batch, length, width),
        weight(2 * channels, width),
        weight(channels, TAPS),
        normal(channels),
        weight(rank + 2 * STATE, channels),
        weight(channels, rank),
        normal(channels) - 3,
        torch.arange(1, STATE + 1).log().repeat(channels, 1),
        normal(channels),
        weight(width, channels),
    ]


def _ssm_inputs(length: int, batch: int = BATCH, channels: int = CHANNELS) -> list[Tensor]:
    """Modes and step sizes of S4D-Lin's initialisation."""
    normal, modes = _normal(length), STATE // 2
    return [
        normal(batch, length, channels),
        torch.logspace(-3, -1, channels).log(),
        torch.full((channels, modes), 0.5).log(),
        torch.pi * torch.arange(modes).repeat(channels, 1),
        normal(channels, modes, 2),
        normal(channels),
    ]


def _delta_inputs(length: int, batch: int = BATCH, channels: int = CHANNELS) -> list[Tensor]:
    """Unit queries and keys, step sizes β up to 2, and log-decays as at a Gated DeltaNet's start."""
    normal, heads = _normal(length), (batch, length, HEADS)
    q, k = (
        torch.nn.functional.normalize(normal(*heads, channels // HEADS), dim=-1).contiguous() for _ in "qk"
    )
    v, beta = normal(*heads, channels // HEADS), 2 * torch.sigmoid(normal(*heads))
    log_decay = -torch.exp(normal(*heads) - 3)
    return [q, k.unsqueeze(2), v.unsqueeze(2), beta.unsqueeze(2), log_decay]


def _vector_delta_inputs(length: int, batch: int = BATCH, channels: int = CHANNELS) -> list[Tensor]:
    """The same with a log-decay per channel."""
    q, k, v, beta, _ = _delta_inputs(length, batch, channels)
    log_decay = -torch.exp(_normal(length + 1)(batch, length, HEADS, channels // HEADS) - 3)
    return [q, k[:, :, 0], v[:, :, 0], beta[:, :, 0], log_decay]


def _diagonal_plus_rank_one_inputs(length: int, batch: int = BATCH, channels: int = CHANNELS) -> list[Tensor]:
    """The keys of an RWKV-7: a unit key, a share of it per channel, and a key for values."""
    q, k, v, _, log_decay = _vector_delta_inputs(length, batch, channels)
    normal = _normal(length + 2)
    return [q, k, torch.sigmoid(normal(*k.shape)) * k, normal(*k.shape) / k.shape[-1] ** 0.5, v, log_decay]


def _rwkv7_keys_inputs(length: int, batch: int = BATCH, channels: int = CHANNELS) -> list[Tensor]:
    """Decays, shares and keys, and parameters near their values at an RWKV-7's start."""
    normal = _normal(length)
    values = [normal(batch, length, HEADS, channels // HEADS) for _ in range(3)]
    starts = (-2.0, -0.2, 0.7, 1.0)
    return [*values, *(start + 0.1 * normal(HEADS, channels // HEADS) for start in starts)]


def _rwkv7_outputs_inputs(length: int, batch: int = BATCH, channels: int = CHANNELS) -> list[Tensor]:
    """Five values per token, and parameters as a norm has."""
    normal = _normal(length)
    values = [normal(batch, length, HEADS, channels // HEADS) for _ in range(5)]
    return [*values, *(start + 0.1 * normal(HEADS, channels // HEADS) for start in (1.0, 0.0, 0.0))]


def _scalar_decay_inputs(length: int, batch: int = BATCH, channels: int = CHANNELS) -> list[Tensor]:
    """Half-lives of a token and of a hundred; all heads share queries and keys."""
    normal = _normal(length)
    q, k = (normal(batch, length, 1, STATE) for _ in "qk")
    rates = torch.logspace(-2, 0, HEADS)
    g = -rates * normal(batch, length, HEADS).exp()
    return [q, k, normal(batch, length, HEADS, channels // HEADS), g]


def _vector_decay_inputs(length: int, batch: int = BATCH, channels: int = CHANNELS) -> list[Tensor]:
    """The same per channel."""
    normal = _normal(length)
    q, k, v, g = (normal(batch, length, HEADS, channels // HEADS) for _ in "qkvg")
    return [q, k, v, -torch.logspace(-2, 0, channels // HEADS) * g.exp()]


def _mlstm_inputs(length: int, batch: int = BATCH, channels: int = CHANNELS) -> list[Tensor]:
    """Gates as at an mLSTM's start, with more spread."""
    normal = _normal(length)
    q, k, v = (normal(batch, length, HEADS, channels // HEADS) for _ in "qkv")
    return [q, k, v, normal(batch, length, HEADS), normal(batch, length, HEADS) + 4]


def _attention_inputs(length: int, batch: int = BATCH, channels: int = CHANNELS) -> list[Tensor]:
    return [_normal(length)(batch, length, 3, HEADS, channels // HEADS)]


def _attention_dropout_inputs(length: int, batch: int = BATCH, channels: int = CHANNELS) -> list[Tensor]:
    return [*_attention_inputs(length, batch, channels), torch.tensor([5, -7, length]), site(3, 0.1)]


def _product_and_bias_inputs(length: int, batch: int = BATCH, channels: int = CHANNELS) -> list[Tensor]:
    return [*_normals("xw")(length, batch, channels), torch.linspace(-1, 1, channels)]


def _normals(shapes: str) -> Callable[..., list[Tensor]]:
    """Inputs from N(0, 1): x of shape (B, L, E), c of (E,), t of (E, taps), w of (E, E), in this order."""

    def inputs(length: int, batch: int = BATCH, channels: int = CHANNELS) -> list[Tensor]:
        normal = _normal(length)
        sizes = {
            "x": (batch, length, channels),
            "c": (channels,),
            "t": (channels, TAPS),
            "w": (channels, channels),
        }
        return [normal(*sizes[shape]) for shape in shapes]

    return inputs


KERNELS: dict[str, Callable[..., list[Tensor]]] = {
    "selective scan": _scan_inputs,
    "short convolution": _normals("xtc"),
    "Mamba block": _mamba_inputs,
    "gated input": lambda *sizes, **more: _mamba_inputs(*sizes, **more)[:4],
    "diagonal SSM": _ssm_inputs,
    "delta rule": _delta_inputs,
    "vector delta rule": _vector_delta_inputs,
    "diagonal plus rank one": _diagonal_plus_rank_one_inputs,
    "RWKV-7 keys": _rwkv7_keys_inputs,
    "RWKV-7 outputs": _rwkv7_outputs_inputs,
    "scalar decay": _scalar_decay_inputs,
    "vector decay": _vector_decay_inputs,
    "mLSTM": _mlstm_inputs,
    "attention": _attention_inputs,
    "attention with dropout": _attention_dropout_inputs,
    "norm": _normals("xcc"),
    "addition and norm": _normals("xxcc"),
    "norm of a sum": _normals("xxcc"),
    "RMS norm": _normals("xc"),
    "addition and RMS norm": _normals("xxc"),
    "RMS norm of a sum": _normals("xxc"),
    "bias and GELU": _normals("xc"),
    "GELU": _normals("x"),
    "bias and GLU": _normals("xc"),
    "gate": _normals("xx"),
    "SiLU gate": _normals("xx"),
    "product": _normals("xw"),
    "product and bias": _product_and_bias_inputs,
}
"""Inputs of every kernel of `bench.kernels.registry`, at a length, a batch size and a number of channels."""


def _normal(seed: int) -> Callable[..., Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=generator)


def _compare(
    kernel: str,
    name: str,
    length: int,
    backend: Callable[..., Any],
    reference: Callable[..., Any],
    inputs: list[Tensor],
) -> Outcome:
    doubled = [value.double() if value.is_floating_point() else value for value in inputs]
    exact_y, exact_gradients = _outputs_and_gradients(reference, doubled)
    with precision("fp32"):  # the test is about kernels, not about rounding of a run's products
        _outputs_and_gradients(backend, inputs)  # warm-up
        began = time.perf_counter()
        y, gradients = _outputs_and_gradients(backend, inputs)
        seconds = time.perf_counter() - began
    return Outcome(
        kernel,
        name,
        length,
        outputs=_relative(y, exact_y),
        gradients=max(_relative(a, b) for a, b in zip(gradients, exact_gradients, strict=True)),
        milliseconds=1e3 * seconds,
    )


UPDATE = "clip and Adam"
"""The kernel that is not a function of tensors. It changes parameters in place and has no gradient."""


def _compare_updates(name: str, device: torch.device) -> Outcome:
    """Compare three updates of two members. Errors of Adam's moments stand in for those of gradients."""
    buffers, milliseconds = {}, 0.0
    for backend in ("reference", name):
        buffers[backend] = _update_buffers(device)
        update = registry.load(UPDATE, backend)(buffers[backend], AdamSettings(0.9, 0.999, 1e-8, 0.1))
        for step in range(3):
            normal = _normal(step)
            gradients = [normal(2, count).to(device) for count in buffers[backend].counts]
            began = time.perf_counter()
            update(gradients, torch.ones(2, device=device))
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            milliseconds = 1e3 * (time.perf_counter() - began)
    exact, tested = buffers["reference"], buffers[name]
    moments = (
        (tested.first_moment, exact.first_moment),
        (tested.second_moment, exact.second_moment),
        (tested.gradient_norm_max, exact.gradient_norm_max),
    )
    return Outcome(
        UPDATE,
        name,
        outputs=_relative(tested.values, exact.values),
        gradients=max(_relative(value, other) for value, other in moments),
        milliseconds=milliseconds,
    )


def _update_buffers(device: torch.device) -> Buffers:
    counts = (40, 3000)
    offsets = (0, 2 * counts[0])
    values = _normal(0)(2 * sum(counts)).to(device)
    return Buffers(
        offsets=offsets,
        counts=counts,
        decays=(True, False),
        values=values,
        first_moment=torch.zeros_like(values),
        second_moment=torch.zeros_like(values),
        step=torch.zeros((), dtype=torch.int64, device=device),
        rates=torch.tensor([1e-3, 1e-2], device=device),
        clips=torch.tensor([1.0, 1e3], device=device),
        loss_sum=torch.zeros(2, dtype=torch.float64, device=device),
        gradient_norm_max=torch.zeros(2, device=device),
        first_bad_step=torch.full((2,), -1, dtype=torch.int64, device=device),
    )


def _outputs_and_gradients(
    function: Callable[..., Any], values: list[Tensor]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    inputs = [value.detach().clone().requires_grad_(value.is_floating_point()) for value in values]
    outputs = function(*inputs)
    # Several outputs are stacked: all have the same tolerance.
    y = outputs if isinstance(outputs, Tensor) else torch.stack(list(outputs))
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype, device=y.device).reshape(y.shape)
    differentiable = [value for value in inputs if value.requires_grad]
    gradients = torch.autograd.grad((y * weights).sum(), differentiable)
    if y.is_cuda:
        torch.cuda.synchronize(y.device)
    return y.detach(), gradients


def _relative(value: Tensor, exact: Tensor) -> float:
    return float((value.to(exact.dtype) - exact).abs().max() / exact.abs().max())
