"""Clip and Adam in Triton: three launches for all parameters of all members.

    1. `sum_squares`: a program per block adds up the squares of its gradients
    2. `finish`: a single program adds the partial sums of each member, then computes the factors of each
       member's update, the meters and the next step
    3. `adam`: a program per block updates its parameters

A block has at most BLOCK entries, all of the same parameter and member. The gradients stay in the memory that
autograd allocated, without a copy into a flat buffer. The kernels read their addresses from a table, because
a launch cannot take a list of tensors. A captured graph has its gradients at the same addresses in every
replay, so its table is filled once, after the capture (`bind`). Every graph has a table of its own.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code="assignment, no-any-return, var-annotated"

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from bench.kernels.adam import AdamSettings, Buffers

BLOCKS = (1024, 4096)
"""Entries of a block, for small stacks and for those with more than `LARGE` parameters in total."""
LARGE = 1 << 23
SUMS = 1024
"""Partial sums that `finish` adds at once."""


@triton.jit
def _block(table, BLOCK: tl.constexpr):
    """This program's block: parameter, entries in it, entries in the flat buffers, mask, member, decays."""
    row = table + 6 * tl.program_id(0)
    entries = tl.arange(0, BLOCK)
    return (
        tl.load(row),
        tl.load(row + 1) + entries,
        tl.load(row + 2) + entries,
        entries < tl.load(row + 3),
        tl.load(row + 4),
        tl.load(row + 5),
    )


@triton.jit
def _gradient(addresses, parameter, place, inside):
    """The block's entries of its parameter's gradient, found by the address in the table."""
    start = tl.load(addresses + parameter).to(tl.pointer_type(tl.float32))
    return tl.load(start + place, mask=inside, other=0.0)


@triton.jit
def sum_squares(table, addresses, partial_sums, BLOCK: tl.constexpr):
    """The sum of the squares of a block's gradient, in the block's place of `partial_sums`."""
    parameter, place, _, inside, _, _ = _block(table, BLOCK)
    g = _gradient(addresses, parameter, place, inside)
    tl.store(partial_sums + tl.program_id(0), tl.sum(g * g))


@triton.jit(do_not_specialize=["members"])
def finish(
    partial_sums, firsts, rates, clips, losses, factors, step, loss_sum, norm_max, first_bad, members,
    log_beta1, log_beta2, decay, BLOCK: tl.constexpr,
):  # fmt: skip
    """Compute each member's norm, factors and meters; then increment the step.

    There is one program, which takes one member after the other and adds its partial sums in their order.
    `factors` has four numbers per member: the factor of clipping, the rate divided by 1 − β₁ᵗ, √(1 − β₂ᵗ),
    and 1 − rate · decay.
    """
    now = tl.load(step)
    t = (now + 1).to(tl.float64)
    correction1 = 1.0 - tl.exp2(t * log_beta1)
    correction2 = 1.0 - tl.exp2(t * log_beta2)
    for k in range(members):
        first, last = tl.load(firsts + k), tl.load(firsts + k + 1)
        squares = tl.zeros((BLOCK,), dtype=tl.float32)
        for begin in range(first, last, BLOCK):
            i = begin + tl.arange(0, BLOCK)
            squares += tl.load(partial_sums + i, mask=i < last, other=0.0)
        norm = tl.sqrt(tl.sum(squares))
        loss, rate = tl.load(losses + k), tl.load(rates + k)
        clipped = tl.load(clips + k) / (norm + 1e-6)
        tl.store(factors + 4 * k, tl.where(clipped < 1.0, clipped, 1.0))
        tl.store(factors + 4 * k + 1, (rate.to(tl.float64) / correction1).to(tl.float32))
        tl.store(factors + 4 * k + 2, tl.sqrt(correction2).to(tl.float32))
        tl.store(factors + 4 * k + 3, 1.0 - rate * decay)
        tl.store(loss_sum + k, tl.load(loss_sum + k) + loss.to(tl.float64))
        # NaN stays: `norm != norm` is true for NaN only, and a comparison would drop it.
        largest = tl.load(norm_max + k)
        tl.store(norm_max + k, tl.where(norm > largest, norm, tl.where(norm != norm, norm, largest)))
        # A comparison with NaN is false, so these tests catch infinities and NaN.
        finite = (tl.abs(loss) < float("inf")) & (tl.abs(norm) < float("inf"))
        bad = tl.load(first_bad + k)
        tl.store(first_bad + k, tl.where((bad < 0) & (finite == 0), now, bad))
    tl.debug_barrier()  # no thread may write the step before all threads have read it
    tl.store(step, now + 1)


@triton.jit
def adam(
    table, addresses, factors, values, first_moment, second_moment, beta2, rest1, rest2, epsilon,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Update the moments and the parameters of a block, by the formulas of `bench.kernels.adam`."""
    # rest1 and rest2 are 1 − β₁ and 1 − β₂, computed on the host in float64: in fp32 the difference cancels.
    parameter, place, flat, inside, member, decays = _block(table, BLOCK)
    clipped, step_size = tl.load(factors + 4 * member), tl.load(factors + 4 * member + 1)
    correction, shrink = tl.load(factors + 4 * member + 2), tl.load(factors + 4 * member + 3)
    shrink = tl.where(decays != 0, shrink, 1.0)
    g = _gradient(addresses, parameter, place, inside) * clipped
    m = tl.load(first_moment + flat, mask=inside, other=0.0)
    v = tl.load(second_moment + flat, mask=inside, other=0.0)
    p = tl.load(values + flat, mask=inside, other=0.0)
    m = m + rest1 * (g - m)
    v = beta2 * v + rest2 * g * g
    p = shrink * p - step_size * (m / (tl.sqrt(v) / correction + epsilon))
    tl.store(first_moment + flat, m, mask=inside)
    tl.store(second_moment + flat, v, mask=inside)
    tl.store(values + flat, p, mask=inside)


class Fused:
    """The update of a stack, with its table of blocks."""

    def __init__(self, buffers: Buffers, settings: AdamSettings) -> None:
        self.buffers, self.settings = buffers, settings
        members, device = len(buffers.rates), buffers.values.device
        self.block = BLOCKS[members * sum(buffers.counts) > LARGE]
        rows: list[tuple[int, int, int, int, int, int]] = []
        firsts = [0]
        for member in range(members):
            for parameter, (offset, count) in enumerate(zip(buffers.offsets, buffers.counts, strict=True)):
                for begin in range(0, count, self.block):
                    place = member * count + begin
                    size = min(self.block, count - begin)
                    decays = int(buffers.decays[parameter])
                    rows.append((parameter, place, offset + place, size, member, decays))
            firsts.append(len(rows))
        self.table = torch.tensor(rows, dtype=torch.int64, device=device)
        self.firsts = torch.tensor(firsts, dtype=torch.int32, device=device)
        self.addresses = torch.zeros(len(buffers.counts), dtype=torch.int64, device=device)
        self.partial_sums = torch.empty(len(rows), device=device)
        self.factors = torch.empty(members, 4, device=device)
        self.captured: list[int] = []
        self.bound: list[Tensor] = []

    def __call__(self, gradients: Sequence[Tensor], losses: Tensor) -> None:
        buffers, settings, grid = self.buffers, self.settings, (len(self.table),)
        gradients = [gradient.contiguous() for gradient in gradients]
        addresses = [gradient.data_ptr() for gradient in gradients]
        # During a capture nothing may be copied from the host. `bind` fills the table afterwards.
        if losses.is_cuda and torch.cuda.is_current_stream_capturing():
            self.captured = addresses
        else:
            self.addresses.copy_(torch.tensor(addresses, dtype=torch.int64))
        sum_squares[grid](self.table, self.addresses, self.partial_sums, BLOCK=self.block)
        finish[(1,)](
            self.partial_sums, self.firsts, buffers.rates, buffers.clips, losses.detach().contiguous(),
            self.factors, buffers.step, buffers.loss_sum, buffers.gradient_norm_max, buffers.first_bad_step,
            len(buffers.rates), _log2(settings.beta1), _log2(settings.beta2), settings.decay, BLOCK=SUMS,
        )  # fmt: skip
        adam[grid](
            self.table, self.addresses, self.factors, buffers.values, buffers.first_moment,
            buffers.second_moment, settings.beta2, 1 - settings.beta1, 1 - settings.beta2, settings.epsilon,
            BLOCK=self.block,
        )  # fmt: skip

    def bind(self) -> None:
        """Write the addresses of the captured graph's gradients into its table, and begin a new table."""
        self.addresses.copy_(torch.tensor(self.captured, dtype=torch.int64))
        self.bound.append(self.addresses)  # the graph reads it in every replay
        self.addresses = torch.zeros_like(self.addresses)


def _log2(value: float) -> float:
    """log₂ of `value`; for 0 a number so small that 2 to its power is 0."""
    return math.log2(value) if value else -1e4
