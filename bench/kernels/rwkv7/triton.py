"""The keys and outputs of RWKV-7 in Triton: a launch forward; backward one, and two that add up partial sums.

A program has a tile of tokens of one head; in the backward pass, several tiles in turn. The backward pass
computes the results again instead of keeping them. With the length n of k ⊙ erased_key, the gradient of it is
(dκ − κ (κ · dκ)) / n. That of the norm is as in `bench.kernels.normalization.triton`.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from bench.kernels import rwkv7
from bench.kernels.operators import like_first, operator
from bench.kernels.triton_functions import sigmoid_of
from bench.kernels.triton_sums import add_up, division

STRONGEST, EPSILON = tl.constexpr(rwkv7.STRONGEST), tl.constexpr(rwkv7.EPSILON)
NORM_EPSILON = tl.constexpr(rwkv7.NORM_EPSILON)
ELEMENTS = 512
"""Numbers in a tile."""
ARGUMENTS = ("decay", "share", "k", "decay_bias", "share_bias", "erased_key", "key_share")
ARGUMENTS_OF_OUTPUTS = ("y", "r", "k", "v", "gate", "norm_weight", "norm_bias", "direct")


@triton.jit
def _erased(k, erased_key):
    """κ, and the length of k ⊙ erased_key that it is divided by."""
    erased = k * erased_key
    length = tl.sqrt(tl.sum(erased * erased, axis=1))[:, None]
    return erased / tl.maximum(length, EPSILON), length


@triton.jit
def _parameters(HEADS: tl.constexpr, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):
    """Places of a head's parameters (1, BLOCK), and which of them there are."""
    d = tl.arange(0, BLOCK)[None, :]
    return (tl.program_id(2).to(tl.int64) * HEADS + tl.program_id(1)) * CHANNELS + d, d < CHANNELS


@triton.jit
def _numbers(t, tokens, HEADS: tl.constexpr, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):
    """Places of a head's numbers at the tokens t (ROWS, 1), and which of them there are."""
    d = tl.arange(0, BLOCK)[None, :]
    place = ((tl.program_id(2).to(tl.int64) * tokens + t) * HEADS + tl.program_id(1)) * CHANNELS + d
    return place, (t < tokens) & (d < CHANNELS)


@triton.jit(do_not_specialize=["tokens"])
def _keys(
    decay, share, k, decay_bias, share_bias, erased_key, key_share, g, read, erase, write, tokens,
    HEADS: tl.constexpr, CHANNELS: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The results of `rwkv7_keys` for a tile of tokens of a head; the folder has the formulas."""
    t = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    place, inside = _numbers(t, tokens, HEADS, CHANNELS, BLOCK)
    column, valid = _parameters(HEADS, CHANNELS, BLOCK)
    decay_c = tl.load(decay + place, mask=inside, other=0.0)
    decay_c += tl.load(decay_bias + column, mask=valid, other=0.0)
    share_c = tl.load(share + place, mask=inside, other=0.0)
    share_c += tl.load(share_bias + column, mask=valid, other=0.0)
    k_c = tl.load(k + place, mask=inside, other=0.0)
    kappa, _ = _erased(k_c, tl.load(erased_key + column, mask=valid, other=0.0))
    g_c, a = sigmoid_of(decay_c) * STRONGEST, sigmoid_of(share_c)
    written = k_c * (1 + (a - 1) * tl.load(key_share + column, mask=valid, other=0.0))
    tl.store(g + place, g_c, mask=inside)
    tl.store(read + place, kappa * tl.exp(-g_c), mask=inside)
    tl.store(erase + place, a * kappa, mask=inside)
    tl.store(write + place, written, mask=inside)


@triton.jit(do_not_specialize=["rounds", "tokens"])
def _keys_gradient(
    dg, d_read, d_erase, d_write, decay, share, k, decay_bias, share_bias, erased_key, key_share,
    d_decay, d_share, dk, of_biases, of_keys, rounds, tokens,
    HEADS: tl.constexpr, CHANNELS: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradients of decay, share and k; partial sums of those of the biases and of the keys' parameters."""
    head, model = tl.program_id(1), tl.program_id(2).to(tl.int64)
    row, d = tl.arange(0, ROWS)[:, None], tl.arange(0, BLOCK)[None, :]
    column, valid = _parameters(HEADS, CHANNELS, BLOCK)
    decay_bias_c = tl.load(decay_bias + column, mask=valid, other=0.0)
    share_bias_c = tl.load(share_bias + column, mask=valid, other=0.0)
    erased_key_c = tl.load(erased_key + column, mask=valid, other=0.0)
    key_share_c = tl.load(key_share + column, mask=valid, other=0.0)
    sum_decay = tl.zeros((ROWS, BLOCK), dk.dtype.element_ty)
    sum_share = tl.zeros((ROWS, BLOCK), dk.dtype.element_ty)
    sum_erased_key = tl.zeros((ROWS, BLOCK), dk.dtype.element_ty)
    sum_key_share = tl.zeros((ROWS, BLOCK), dk.dtype.element_ty)
    for i in range(rounds):
        t = (tl.program_id(0) * rounds + i) * ROWS + row
        place, inside = _numbers(t, tokens, HEADS, CHANNELS, BLOCK)
        k_c = tl.load(k + place, mask=inside, other=0.0)
        sigmoid = sigmoid_of(tl.load(decay + place, mask=inside, other=0.0) + decay_bias_c)
        a = sigmoid_of(tl.load(share + place, mask=inside, other=0.0) + share_bias_c)
        kappa, length = _erased(k_c, erased_key_c)
        growth = tl.exp(-(sigmoid * STRONGEST))  # exp(−g)
        d_read_c = tl.load(d_read + place, mask=inside, other=0.0) * growth
        d_erase_c = tl.load(d_erase + place, mask=inside, other=0.0)
        d_write_c = tl.load(d_write + place, mask=inside, other=0.0)
        d_kappa = d_read_c + a * d_erase_c
        along = tl.where(length >= EPSILON, tl.sum(kappa * d_kappa, axis=1)[:, None], 0.0)
        d_erased = (d_kappa - kappa * along) / tl.maximum(length, EPSILON)
        dg_c = tl.load(dg + place, mask=inside, other=0.0) - kappa * d_read_c
        d_decay_c = dg_c * STRONGEST * sigmoid * (1 - sigmoid)
        d_share_c = (kappa * d_erase_c + d_write_c * k_c * key_share_c) * a * (1 - a)
        dk_c = d_erased * erased_key_c + d_write_c * (1 + (a - 1) * key_share_c)
        tl.store(d_decay + place, d_decay_c, mask=inside)
        tl.store(d_share + place, d_share_c, mask=inside)
        tl.store(dk + place, dk_c, mask=inside)
        sum_decay += d_decay_c
        sum_share += d_share_c
        sum_erased_key += d_erased * k_c
        sum_key_share += d_write_c * k_c * (a - 1)
    line = HEADS * CHANNELS
    part = (model * tl.num_programs(0) + tl.program_id(0)) * 2 * line + head * CHANNELS + d
    tl.store(of_biases + part, tl.sum(sum_decay, axis=0)[None, :], mask=valid)
    tl.store(of_biases + line + part, tl.sum(sum_share, axis=0)[None, :], mask=valid)
    tl.store(of_keys + part, tl.sum(sum_erased_key, axis=0)[None, :], mask=valid)
    tl.store(of_keys + line + part, tl.sum(sum_key_share, axis=0)[None, :], mask=valid)


@triton.jit
def _standardized(y, inside, CHANNELS: tl.constexpr):
    """Rows with mean 0 and variance 1, and the inverse standard deviations."""
    centered = tl.where(inside, y - (tl.sum(y, axis=1) / CHANNELS)[:, None], 0.0)
    variance = tl.sum(centered * centered, axis=1)[:, None] / CHANNELS
    scale = tl.rsqrt(variance + NORM_EPSILON * CHANNELS)
    return centered * scale, scale


@triton.jit(do_not_specialize=["tokens"])
def _outputs(
    y, r, k, v, gate, norm_weight, norm_bias, direct, out, tokens,
    HEADS: tl.constexpr, CHANNELS: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The results of `rwkv7_outputs` for a tile of tokens of a head; the folder has the formula."""
    t = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    place, inside = _numbers(t, tokens, HEADS, CHANNELS, BLOCK)
    column, valid = _parameters(HEADS, CHANNELS, BLOCK)
    normed, _ = _standardized(tl.load(y + place, mask=inside, other=0.0), inside, CHANNELS)
    products = tl.load(r + place, mask=inside, other=0.0) * tl.load(k + place, mask=inside, other=0.0)
    own = tl.sum(products * tl.load(direct + column, mask=valid, other=0.0), axis=1)[:, None]
    result = tl.load(norm_weight + column, mask=valid, other=0.0) * normed
    result += tl.load(norm_bias + column, mask=valid, other=0.0)
    result += own * tl.load(v + place, mask=inside, other=0.0)
    tl.store(out + place, result * tl.load(gate + place, mask=inside, other=0.0), mask=inside)


@triton.jit(do_not_specialize=["rounds", "tokens"])
def _outputs_gradient(
    d_out, y, r, k, v, gate, norm_weight, norm_bias, direct, dy, dr, dk, dv, d_gate, of_norm, of_direct,
    rounds, tokens,
    HEADS: tl.constexpr, CHANNELS: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradients of the tokens' values, and partial sums of those of the norm's parameters and of `direct`."""
    head, model = tl.program_id(1), tl.program_id(2).to(tl.int64)
    row, d = tl.arange(0, ROWS)[:, None], tl.arange(0, BLOCK)[None, :]
    column, valid = _parameters(HEADS, CHANNELS, BLOCK)
    weight = tl.load(norm_weight + column, mask=valid, other=0.0)
    bias = tl.load(norm_bias + column, mask=valid, other=0.0)
    direct_c = tl.load(direct + column, mask=valid, other=0.0)
    sum_weight = tl.zeros((ROWS, BLOCK), dy.dtype.element_ty)
    sum_bias = tl.zeros((ROWS, BLOCK), dy.dtype.element_ty)
    sum_direct = tl.zeros((ROWS, BLOCK), dy.dtype.element_ty)
    for i in range(rounds):
        t = (tl.program_id(0) * rounds + i) * ROWS + row
        place, inside = _numbers(t, tokens, HEADS, CHANNELS, BLOCK)
        d_out_c = tl.load(d_out + place, mask=inside, other=0.0)
        normed, scale = _standardized(tl.load(y + place, mask=inside, other=0.0), inside, CHANNELS)
        r_c = tl.load(r + place, mask=inside, other=0.0)
        k_c = tl.load(k + place, mask=inside, other=0.0)
        v_c = tl.load(v + place, mask=inside, other=0.0)
        own = tl.sum(r_c * direct_c * k_c, axis=1)[:, None]
        tl.store(d_gate + place, d_out_c * (weight * normed + bias + own * v_c), mask=inside)
        d_out_c *= tl.load(gate + place, mask=inside, other=0.0)
        d_own = tl.sum(d_out_c * v_c, axis=1)[:, None]
        tl.store(dv + place, d_out_c * own, mask=inside)
        tl.store(dr + place, d_own * direct_c * k_c, mask=inside)
        tl.store(dk + place, d_own * direct_c * r_c, mask=inside)
        sum_weight += d_out_c * normed
        sum_bias += d_out_c
        sum_direct += d_own * r_c * k_c
        d_normed = d_out_c * weight
        mean = tl.sum(d_normed, axis=1)[:, None] / CHANNELS
        along = tl.sum(d_normed * normed, axis=1)[:, None] / CHANNELS
        tl.store(dy + place, (d_normed - mean - normed * along) * scale, mask=inside)
    line = HEADS * CHANNELS
    part = model * tl.num_programs(0) + tl.program_id(0)
    column = head * CHANNELS + d
    tl.store(of_norm + 2 * part * line + column, tl.sum(sum_weight, axis=0)[None, :], mask=valid)
    tl.store(of_norm + (2 * part + 1) * line + column, tl.sum(sum_bias, axis=0)[None, :], mask=valid)
    tl.store(of_direct + part * line + column, tl.sum(sum_direct, axis=0)[None, :], mask=valid)


def forward(*inputs: Tensor) -> tuple[Tensor, ...]:
    """Stacked decay, share and k (K, B, L, H, N) and parameters (K, H, N) → g, read, erase and write."""
    return _run(_keys, inputs, 4)


def forward_outputs(*inputs: Tensor) -> tuple[Tensor, ...]:
    """Stacked y, r, k, v and gate (K, B, L, H, N) and parameters (K, H, N) → outputs like y."""
    return _run(_outputs, inputs, 1)


def backward(*values: Tensor) -> tuple[Tensor, ...]:
    """Gradients of the results, inputs of `forward` → gradients of these inputs."""
    return _differentiate(_keys_gradient, values[:4], values[4:], (2, 2))


def backward_outputs(*values: Tensor) -> tuple[Tensor, ...]:
    """The gradient of the outputs, inputs of `forward_outputs` → gradients of these inputs."""
    return _differentiate(_outputs_gradient, values[:1], values[1:], (2, 1))


def _run(kernel: Any, inputs: tuple[Tensor, ...], results: int) -> tuple[Tensor, ...]:
    """As many results of a kernel as stated, like the first input."""
    inputs = tuple(value.contiguous() for value in inputs)
    first = inputs[0]
    made = tuple(first.new_empty(first.shape) for _ in range(results))
    if first.numel():
        tokens, K, heads, sizes = _sizes(first)
        kernel[(triton.cdiv(tokens, sizes["ROWS"]), heads, K)](*inputs, *made, tokens, **sizes)
    return made


def _differentiate(
    kernel: Any, incoming: tuple[Tensor, ...], inputs: tuple[Tensor, ...], lines: tuple[int, ...]
) -> tuple[Tensor, ...]:
    """Gradients of the inputs. The last ones are parameters; `lines` are their numbers in partial sums."""
    incoming, inputs = (tuple(value.contiguous() for value in values) for values in (incoming, inputs))
    gradients = tuple(value.new_empty(value.shape) for value in inputs)
    first = inputs[0]
    if not first.numel():
        return tuple(value.zero_() for value in gradients)
    tokens, K, heads, sizes = _sizes(first)
    programs, rounds = division(tokens, sizes["ROWS"], heads)
    partial = [first.new_empty(K, programs, count, heads * sizes["CHANNELS"]) for count in lines]
    of_tokens, of_parameters = gradients[: -sum(lines)], list(gradients[-sum(lines) :])
    kernel[(programs, heads, K)](*incoming, *inputs, *of_tokens, *partial, rounds, tokens, **sizes)
    for sums, count in zip(partial, lines, strict=True):
        add_up(sums, *(of_parameters.pop(0) for _ in range(count)))
    return gradients


def _sizes(value: Tensor) -> tuple[int, int, int, dict[str, int]]:
    """Numbers of tokens, of models and of heads, and compile-time constants, from (K, B, L, H, N)."""
    K, heads, channels = value.shape[0], *value.shape[-2:]
    return value.numel() // (K * heads * channels), K, heads, constants(heads, channels)


def constants(heads: int, channels: int) -> dict[str, int]:
    """Compile-time constants of all kernels: a program's tile of a head's tokens."""
    block = triton.next_power_of_2(channels)
    rows = max(1, ELEMENTS // block)
    return {"HEADS": heads, "CHANNELS": channels, "ROWS": rows, "BLOCK": block, "num_warps": 4}


rwkv7_keys = operator(
    "rwkv7_keys_triton", ARGUMENTS, (), forward, backward,
    lambda *inputs: tuple(inputs[0].new_empty(inputs[0].shape) for _ in range(4)),
    outputs=("g", "read", "erase", "write"),
)  # fmt: skip
rwkv7_outputs = operator(
    "rwkv7_outputs_triton", ARGUMENTS_OF_OUTPUTS, (), forward_outputs, backward_outputs, like_first
)
