"""The hash behind all random numbers of `bench.tasks.draws`, in operations of 64-bit integer tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # 2^64/φ as a signed integer: the Weyl increment of SplitMix64
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64


def shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical shift of signed 64-bit words (torch's own shift copies the sign)."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    """SplitMix64's finaliser: a bijection of 64-bit words; multiplication wraps."""
    x = (x ^ shift_right(x, 30)) * _MIX_1
    x = (x ^ shift_right(x, 27)) * _MIX_2
    return x ^ shift_right(x, 31)


def words(index: Tensor, step: Tensor, key_1: int | Tensor, key_2: int | Tensor) -> Tensor:
    """The random words numbered `index`, int64 of its shape, of a step and a 128-bit key."""
    walk = step * _GOLDEN
    first, second = _mix(walk + key_1), _mix(walk + key_2)
    return _mix(_mix(index * _GOLDEN + first) ^ second)
