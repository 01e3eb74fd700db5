"""Counter-based random numbers in Triton: one launch per draw. `bench.tasks.draws` is the specification.

Several seeds share a draw equally. Their keys are then tensors, `SEEDS` is true, and `share` is the number of
entries, or of subsets, of each.

The hash uses the same 64-bit integer arithmetic. Later operations have the same order and precision. So
integers have the same bits, and floating-point numbers are equal after rounding.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code="assignment, no-any-return, var-annotated"

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

UNIFORM, NORMAL, INTEGERS, SIGNS = (tl.constexpr(kind) for kind in range(4))
GOLDEN = tl.constexpr(0x9E3779B97F4A7C15)
MIX_1 = tl.constexpr(0xBF58476D1CE4E5B9)
MIX_2 = tl.constexpr(0x94D049BB133111EB)
TWO_PI = tl.constexpr(2.0 * math.pi)
MOST_ELEMENTS = 128
"""The largest universe for ranking by comparison of all pairs."""
BLOCK = 256


@triton.jit
def _mix(x):
    """SplitMix64's finaliser, as in `bench.kernels.draws.words`."""
    x = (x ^ (x >> 30)) * MIX_1
    x = (x ^ (x >> 27)) * MIX_2
    return x ^ (x >> 31)


@triton.jit
def random_word(index, step, key_1, key_2):
    """The random word of `index`. `step` and the keys have the shape of `index`, with equal entries."""
    walk = step.to(tl.uint64) * GOLDEN
    first, second = _mix(walk + key_1.to(tl.uint64)), _mix(walk + key_2.to(tl.uint64))
    return _mix(_mix(index.to(tl.uint64) * GOLDEN + first) ^ second)


@triton.jit(do_not_specialize=["key_1", "key_2", "share", "high", "count", "columns", "width"])
def _draw(
    step, rows, out, within, key_1, key_2, share, high, count, columns, width,
    KIND: tl.constexpr, ROWS: tl.constexpr, WITHIN: tl.constexpr, SEEDS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Draw BLOCK numbers of the kind KIND.

    `at` is a number's place in the batch. `index` is its place in the endless batch of its seed, which
    selects its word. With ROWS, the batch has the rows `rows` of the endless one. Two neighbouring normal
    numbers share a word: one takes the cosine, the other the sine. With WITHIN, entries of the last dimension
    from `within` on are zero.
    """
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    index = at % share if SEEDS else at
    if ROWS:
        index = tl.load(rows + at // columns, mask=inside, other=0) * columns + at % columns
    zeros = tl.zeros_like(index)
    steps = tl.load(step + zeros)
    if SEEDS:
        key_1 = tl.load(key_1 + at // share, mask=inside, other=0)
        key_2 = tl.load(key_2 + at // share, mask=inside, other=0)
    word = random_word(index // 2 if KIND == NORMAL else index, steps, zeros + key_1, zeros + key_2)
    if KIND == UNIFORM:
        value = ((word >> 41).to(tl.float32) + 0.5) * 1.1920928955078125e-07  # 2⁻²³
    elif KIND == NORMAL:
        high_half = ((word >> 32).to(tl.float64) + 0.5) * 2.3283064365386963e-10  # 2⁻³²
        low_half = ((word & 0xFFFFFFFF).to(tl.float64) + 0.5) * 2.3283064365386963e-10
        radius, angle = tl.sqrt(tl.log(high_half) * -2.0), low_half * TWO_PI
        value = (radius * tl.where(index % 2 == 0, tl.cos(angle), tl.sin(angle))).to(tl.float32)
        if WITHIN:
            value = tl.where(at % width < tl.load(within), value, 0.0)
    elif KIND == INTEGERS:
        value = (((word >> 32) * (zeros + high).to(tl.uint64)) >> 32).to(tl.int64)
    else:
        value = ((word >> 63).to(tl.int64) * 2 - 1).to(tl.float32)
    tl.store(out + at, value, mask=inside)


@triton.jit(do_not_specialize=["key_1", "key_2", "share", "size", "universe"])
def _subset(
    step, rows, out_of, out, key_1, key_2, share, size, universe,
    ON_DEVICE: tl.constexpr, ROWS: tl.constexpr, SEEDS: tl.constexpr, ELEMENTS: tl.constexpr,
):  # fmt: skip
    """A subset per program. Element i goes to place |{j : rank_j < rank_i}|; ties keep their order.

    All pairs of ranks are compared at once, (ELEMENTS, ELEMENTS). Elements beyond `out_of` come last.
    """
    row = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, ELEMENTS)
    number = row % share if SEEDS else row
    index = (tl.load(rows + row) if ROWS else number) * universe + i
    zeros = tl.zeros_like(index)
    if SEEDS:
        key_1, key_2 = tl.load(key_1 + row // share), tl.load(key_2 + row // share)
    word = random_word(index, tl.load(step + zeros), zeros + key_1, zeros + key_2)
    allowed = i < (tl.load(out_of) if ON_DEVICE else out_of)
    rank = tl.where(allowed, (word >> 41).to(tl.int32), 1 << 23)
    rank = tl.where(i < universe, rank, 1 << 24)
    rank_i, rank_j = rank[:, None], rank[None, :]
    before = (rank_j < rank_i) | ((rank_j == rank_i) & (i[None, :] < i[:, None]))
    place = tl.sum(before.to(tl.int32), axis=1)
    tl.store(out + row * size + place, i.to(tl.int64), mask=(place < size) & (i < universe))


@triton.jit(do_not_specialize=["start", "increment", "every", "end"])
def _ramp(step, out, start, increment, every, end):
    """Write a single number, from a single program."""
    tl.store(out, tl.minimum(tl.load(step) // every * increment + start, end))


def ramp(step: Tensor, start: int, increment: int, every: int, end: int) -> Tensor:
    """The smaller of `end` and start + increment·⌊step / every⌋, an int64 scalar on the step's device."""
    out = torch.empty_like(step)
    _ramp[(1,)](step, out, start, increment, every, end, num_warps=1)
    return out


Keys = tuple[int | Tensor, int | Tensor]
"""Both keys of a draw: numbers, or tensors (seeds, 1) int64 with several seeds."""


def _share(count: int, keys: Keys) -> int:
    """How many of `count` belong to each seed."""
    return count // len(keys[0]) if isinstance(keys[0], Tensor) else count


def draw(
    kind: str, step: Tensor, rows: Tensor | None, keys: Keys, shape: tuple[int, ...], high: int = 0,
    within: int | Tensor | None = None, double: bool = False,
) -> Tensor:  # fmt: skip
    """A batch of `shape` of one kind: "uniform", "normal", "integers" (below `high`) or "signs".

    Normals may be zero beyond `within` in the last dimension, and stored in float64.
    """
    number, dtype = _KINDS[kind]
    out = torch.empty(shape, dtype=torch.float64 if double else dtype, device=step.device)
    if isinstance(within, int):
        within = torch.tensor(within, device=step.device)
    count = out.numel()
    if count:
        _draw[(triton.cdiv(count, BLOCK),)](
            step, step if rows is None else rows.contiguous(), out, step if within is None else within,
            *keys, _share(count, keys), high, count, math.prod(shape[1:]), shape[-1],
            KIND=number, ROWS=rows is not None, WITHIN=within is not None,
            SEEDS=isinstance(keys[0], Tensor), BLOCK=BLOCK,
        )  # fmt: skip
    return out


def subsets(
    step: Tensor, rows: Tensor | None, keys: Keys, batch: int, size: int, out_of: int | Tensor,
    universe: int,
) -> Tensor:  # fmt: skip
    """`Draws.subsets`, by counting instead of sorting; `universe` is at most `MOST_ELEMENTS`."""
    out = torch.empty(batch, size, dtype=torch.int64, device=step.device)
    if out.numel():
        _subset[(batch,)](
            step, step if rows is None else rows.contiguous(), out_of, out, *keys,
            _share(batch, keys), size, universe,
            ON_DEVICE=isinstance(out_of, Tensor), ROWS=rows is not None,
            SEEDS=isinstance(keys[0], Tensor),
            ELEMENTS=triton.next_power_of_2(universe), num_warps=1,
        )  # fmt: skip
    return out


_KINDS = {
    "uniform": (UNIFORM.value, torch.float32),
    "normal": (NORMAL.value, torch.float32),
    "integers": (INTEGERS.value, torch.int64),
    "signs": (SIGNS.value, torch.float32),
}
