"""LayerNorm and RMSNorm in Triton: one launch forward; backward one, and one that adds up partial sums.

A program has a tile of whole rows; in the backward pass, several tiles in turn. The backward pass computes
mean and standard deviation again, because it reads the rows anyway. With x̂ the standardized row, g = weight
· dy and means over channels, the gradient is

    dh = (g − mean(g) − x̂ · mean(g · x̂)) / √(variance + ε)

RMSNorm takes the mean to be zero, and has no mean(g) and no bias.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code="assignment, no-any-return, var-annotated"

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from bench.kernels import normalization
from bench.kernels.branches import aside
from bench.kernels.operators import like_first, operator
from bench.kernels.triton_sums import add_up, division

EPSILON, RMS_EPSILON = tl.constexpr(normalization.EPSILON), tl.constexpr(normalization.RMS_EPSILON)
ELEMENTS = 1024
"""Numbers in a tile; a longer row is a tile of its own."""


@triton.jit
def _standardized(total, inside, channels, RMS: tl.constexpr):
    """Rows with mean 0 and variance 1, and the inverse standard deviations; RMS: without mean."""
    # A division takes ten instructions, and every thread of a row would repeat it.
    share = tl.full((), 1.0, total.dtype) / channels
    if RMS:
        centered = total
    else:
        mean = tl.sum(total, axis=1) * share
        centered = tl.where(inside, total - mean[:, None], 0.0)
    variance = tl.sum(centered * centered, axis=1) * share
    scale = tl.rsqrt(variance + (RMS_EPSILON if RMS else EPSILON))
    return centered * scale[:, None], scale


@triton.jit(do_not_specialize=["rows"])
def _norm_forward(
    h, update, weight, bias, total, normed, rows, channels,
    UPDATE: tl.constexpr, RMS: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The norm of a tile of whole rows, which stay in registers between mean, variance and result.

    With UPDATE the rows are h + update, and `total` is their sum.
    """
    k, first = tl.program_id(1).to(tl.int64), tl.program_id(0) * ROWS
    row, e = tl.arange(0, ROWS)[:, None], tl.arange(0, BLOCK)
    inside = (first + row < rows) & (e < channels)[None, :]
    start = (k * rows + first) * channels
    within = row * channels + e[None, :]
    value = tl.load(h + start + within, mask=inside, other=0.0)
    if UPDATE:
        value += tl.load(update + start + within, mask=inside, other=0.0)
        tl.store(total + start + within, value, mask=inside)
    weights = tl.load(weight + k * channels + e, mask=e < channels, other=0.0)
    if not RMS:
        biases = tl.load(bias + k * channels + e, mask=e < channels, other=0.0)
    standardized, _ = _standardized(value, inside, channels, RMS)
    result = standardized * weights[None, :]
    if not RMS:
        result += biases[None, :]
    tl.store(normed + start + within, result, mask=inside)


@triton.jit(do_not_specialize=["rounds", "rows"])
def _norm_backward(
    d_total, d_normed, total, weight, dh, partial, rounds, rows, channels,
    TOTAL: tl.constexpr, RMS: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The gradient of h for several tiles of rows, and the program's part of those of weight and bias.

    `sum_weight` and `sum_bias` are tiles: each of their rows adds up every ROWS-th row, and these rows are
    added up at the end. With TOTAL, the gradient of the residual stream is added to dh.
    """
    part, k = tl.program_id(0), tl.program_id(1).to(tl.int64)
    row, e = tl.arange(0, ROWS)[:, None], tl.arange(0, BLOCK)
    within = row * channels + e[None, :]
    weights = tl.load(weight + k * channels + e, mask=e < channels, other=0.0)[None, :]
    share = tl.full((), 1.0, total.dtype.element_ty) / channels
    sum_weight = tl.zeros((ROWS, BLOCK), dtype=total.dtype.element_ty)
    sum_bias = tl.zeros((ROWS, BLOCK), dtype=total.dtype.element_ty)
    for i in range(rounds):
        first = (part * rounds + i) * ROWS
        inside = (first + row < rows) & (e < channels)[None, :]
        start = (k * rows + first) * channels
        d = tl.load(d_normed + start + within, mask=inside, other=0.0)
        value = tl.load(total + start + within, mask=inside, other=0.0)
        if TOTAL:  # loaded here although it is needed last, so that it arrives during the sums
            residual = tl.load(d_total + start + within, mask=inside, other=0.0)
        standardized, scale = _standardized(value, inside, channels, RMS)
        sum_weight += d * standardized
        if not RMS:
            sum_bias += d
        d *= weights
        along = tl.sum(d * standardized, axis=1) * share
        if RMS:
            d = (d - standardized * along[:, None]) * scale[:, None]
        else:
            mean = tl.sum(d, axis=1) * share
            d = (d - mean[:, None] - standardized * along[:, None]) * scale[:, None]
        if TOTAL:
            d += residual
        tl.store(dh + start + within, d, mask=inside)
    partial += (k * tl.num_programs(0) + part) * (1 if RMS else 2) * channels + e
    tl.store(partial, tl.sum(sum_weight, axis=0), mask=e < channels)
    if not RMS:
        tl.store(partial + channels, tl.sum(sum_bias, axis=0), mask=e < channels)


def tile(channels: int) -> dict[str, int]:
    """A program's tile of whole rows, and its warps.

    On an H200, the gradient of 16 × 5248 rows of 128 takes 57 µs with 2 warps and 66 with 4; reading and
    writing alone takes 41. Longer rows would have too few registers with 2.
    """
    block = triton.next_power_of_2(channels)
    warps = 2 if block <= 128 else 4 if block <= ELEMENTS else 8
    return {"ROWS": max(1, ELEMENTS // block), "BLOCK": block, "num_warps": warps}


def _run(
    h: Tensor, update: Tensor | None, weight: Tensor, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Stacked inputs: h and update (K, ..., D), weight and bias (K, D) → total and normed like h.

    Without bias, RMSNorm.
    """
    K, channels = h.shape[0], h.shape[-1]
    h = h.contiguous()
    normed = h.new_empty(h.shape)
    total = h if update is None else h.new_empty(h.shape)
    if h.numel():
        rows, launch = h.numel() // (K * channels), tile(channels)
        _norm_forward[(triton.cdiv(rows, launch["ROWS"]), K)](
            h, h if update is None else update.contiguous(), weight.contiguous(),
            weight if bias is None else bias.contiguous(), total, normed, rows, channels,
            UPDATE=update is not None, RMS=bias is None, **launch,
        )  # fmt: skip
    return total, normed


def _differentiate(
    d_total: Tensor | None, d_normed: Tensor, total: Tensor, weight: Tensor, *, rms: bool = False
) -> tuple[Tensor, ...]:
    """Gradients of h (and of update, which is the same), of weight and, unless `rms`, of bias."""
    K, channels = total.shape[0], total.shape[-1]
    d_normed, total = d_normed.contiguous(), total.contiguous()
    dh = total.new_empty(total.shape)
    of_parameters = [weight.new_empty(weight.shape) for _ in range(1 if rms else 2)]
    if not total.numel():
        return dh, *(value.zero_() for value in of_parameters)
    rows, launch = total.numel() // (K * channels), tile(channels)
    programs, rounds = division(rows, launch["ROWS"])
    partial = total.new_empty(K, programs, len(of_parameters), channels)
    _norm_backward[(programs, K)](
        d_normed if d_total is None else d_total.contiguous(), d_normed, total, weight.contiguous(),
        dh, partial, rounds, rows, channels, TOTAL=d_total is not None, RMS=rms, **launch,
    )  # fmt: skip
    with aside(partial):
        add_up(partial, *of_parameters)
    return dh, *of_parameters


def _shapes(h: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
    return h.new_empty(h.shape), h.new_empty(h.shape)


def _operators(name: str, weights: tuple[str, ...]) -> tuple[Callable[..., Any], ...]:
    """The functions `norm`, `add_norm` and `norm_of_sum` of a kind of norm, as operators.

    Args:
        name: of the first one; the others are named after it.
        weights: names of weight and bias, or of the weight alone for RMSNorm.
    """
    differentiate = partial(_differentiate, rms=len(weights) == 1)

    def gradient_shapes(*values: Tensor) -> tuple[Tensor, ...]:
        """Empty tensors like h and the weights; `values` ends with the normalised tensor and the weight."""
        total, weight = values[-2:]
        return total.new_empty(total.shape), *(weight.new_empty(weight.shape) for _ in weights)

    all_have: dict[str, Any] = {"gradient_shapes": gradient_shapes, "parameters": weights}
    sums_have: dict[str, Any] = {"needs": ("total", "weight"), "gradients": ("h", "h", *weights)}
    norm = operator(
        f"{name}_triton",
        ("h", *weights),
        (),
        lambda h, *weights: _run(h, None, *weights)[1:],
        lambda d_normed, h, weight: differentiate(None, d_normed, h, weight),
        like_first,
        needs=("h", "weight"),
        **all_have,
    )
    add_norm = operator(
        f"add_{name}_triton",
        ("h", "update", *weights),
        (),
        _run,
        differentiate,
        _shapes,
        outputs=("total", "normed"),
        **sums_have,
        **all_have,
    )
    norm_of_sum = operator(
        f"{name}_of_sum_triton",
        ("h", "update", *weights),
        ("total",),
        lambda *values: _run(*values)[::-1],
        lambda d_normed, total, weight: differentiate(None, d_normed, total, weight),
        _shapes,
        outputs=("normed",),
        **sums_have,
        **all_have,
    )
    return norm, add_norm, norm_of_sum


norm, add_norm, norm_of_sum = _operators("norm", ("weight", "bias"))
rms_norm, add_rms_norm, rms_norm_of_sum = _operators("rms_norm", ("weight",))
