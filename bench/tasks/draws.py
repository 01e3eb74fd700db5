"""Counter-based random numbers. A number depends on its index, never on earlier draws.

Training batch `t` must be a function of (task, data seed, t) alone, and evaluation prompts must have the same
bits on every machine. A stateful generator gives neither: its stream depends on the device, the order of
calls and the step at which a run was resumed. Here every number is a hash of

    (seed, purpose, step, name, index)

computed in 64-bit integer arithmetic, which is exact on every device. `purpose` separates training from
evaluation. `name` separates the variables of a prompt, so a new variable never shifts another one. A larger
batch begins with the smaller one, because word `index` does not depend on the number of words.
The hash is two rounds of the SplitMix64 finaliser (Steele, Lea & Flood 2014, "Fast splittable
pseudorandom number generators", Figure 16, variant 13 of Stafford) with a 64-bit key before each.

The batches of several seeds can be drawn in one pass, one after the other. Every number has the key and the
index of its own seed, so it is the number that this seed gives alone::

    row of the draw    0  1  2      3  4  5         seeds (7, 9), batches of 3 rows
    row of the seed    0  1  2      0  1  2         gives the index
    seed               7  7  7      9  9  9         gives the key
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from bench.kernels.backends import unavailable
from bench.kernels.draws.words import shift_right, words
from bench.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


def _kernels() -> Any:
    from bench.kernels.draws import triton

    return triton


@dataclass(frozen=True)
class Draws:
    """The random numbers of one batch, or of the batches of several seeds, one after the other.

    Attributes:
        seed: the data seed, or several.
        purpose: "train", or the name of an evaluation set. Different purposes never share a stream.
        step: number of the batch, an int64 scalar tensor, so that a captured CUDA graph can increment it.
            All draws are on its device.
        rows: (B,) int64, numbers of the rows of an endless batch; None for the first rows of every seed.
            Every drawn shape begins with B.
        batch: rows of each seed, B / seeds. Only draws with several seeds need it.
    """

    seed: int | tuple[int, ...]
    purpose: str
    step: Tensor
    rows: Tensor | None = None
    batch: int | None = None

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, usually one."""
        return self.seed if isinstance(self.seed, tuple) else (self.seed,)

    @property
    def _fused(self) -> bool:
        """Whether a draw is one launch (`bench.kernels.draws.triton`) instead of the operations here."""
        return self.step.is_cuda and unavailable("triton", "cuda") is None

    def _draw(
        self,
        kind: str,
        name: str,
        shape: tuple[int, ...],
        high: int = 0,
        *,
        within: int | Tensor | None = None,
        double: bool = False,
    ) -> Tensor:
        """A draw by one kernel launch."""
        keys = self.keys(name)
        drawn: Tensor = _kernels().draw(kind, self.step, self.rows, keys, shape, high, within, double)
        return drawn

    def keys(self, name: str) -> tuple[int | Tensor, int | Tensor]:
        """Two 64-bit words that stand for the seed, the purpose and the name.

        With several seeds, both are tensors, (seeds, 1) int64.
        """
        if isinstance(self.seed, tuple):
            return _keys_on_device(self.seed, self.purpose, name, self.step.device)
        return _keys(self.seed, self.purpose, name)

    def _check(self, name: str, shape: tuple[int, ...]) -> None:
        """Refuse a shape that does not begin with the number of rows, if that is known.

        Raises:
            ValueError: the shape begins with another number. Rows would get numbers of other rows or seeds.
        """
        rows = None if self.rows is None else len(self.rows)
        if isinstance(self.seed, tuple):
            rows = len(self.seed) * (self.batch or 0)
        if rows is not None and shape[:1] != (rows,):
            raise ValueError(f"'{name}': a draw for {rows} rows (seed {self.seed}) has the shape {shape}")

    def _words(self, name: str, index: Tensor) -> Tensor:
        """The random words with the numbers `index` (n,): (n,) int64, or (seeds, n) with several seeds."""
        return words(index, self.step, *self.keys(name))

    def _index(self, *shape: int) -> Tensor:
        """Index in the endless batch of every entry of a batch of `shape`, int64.

        Returns:
            (n,) for n entries of each seed, if they are the same for all seeds; otherwise (seeds, n).
        """
        if self.rows is None:
            entries = math.prod(shape) // len(self.seeds)
            return torch.arange(entries, dtype=torch.int64, device=self.step.device)
        entries = math.prod(shape[1:])  # of one row
        columns = torch.arange(entries, device=self.step.device)
        return (self.rows.unsqueeze(1) * entries + columns).reshape(len(self.seeds), -1)

    def uniform(self, name: str, *shape: int) -> Tensor:
        """Uniform on (0, 1), never 0 or 1, float32 of `shape`."""
        self._check(name, shape)
        if self._fused:
            return self._draw("uniform", name, shape)
        # 23 bits and a half are exact in float32. With 24 bits, the largest number would round to 1.
        top = shift_right(self._words(name, self._index(*shape)), 41)
        return ((top.to(torch.float32) + 0.5) * 2.0**-23).reshape(shape)

    def normal(
        self, name: str, *shape: int, within: int | Tensor | None = None, double: bool = False
    ) -> Tensor:
        """Standard normal of `shape`.

        Box–Muller on the two halves of each word, in float64. Logarithms differ between machines in the last
        bit; rounding to float32 removes this difference.

        Args:
            name: name of the variable.
            shape: shape of the result.
            within: entries of the last dimension from this index on are zero; may be a device scalar.
            double: return the same numbers as float64, for a computation that rounds only its result.
        """
        self._check(name, shape)
        if self._fused:
            return self._draw("normal", name, shape, within=within, double=double)
        if self.rows is None:
            count = math.prod(shape) // len(self.seeds)
            words_of_pairs = torch.arange((count + 1) // 2, dtype=torch.int64, device=self.step.device)
            pairs = self._normals(self._words(name, words_of_pairs))
            values = torch.stack(pairs, dim=-1).flatten(-2)[..., :count]
        else:
            index = self._index(*shape)
            values = torch.where(index % 2 == 0, *self._normals(self._words(name, index // 2)))
        values = values.to(torch.float32).reshape(shape)
        values = mask_beyond(values, within)
        return values.to(torch.float64) if double else values

    @staticmethod
    def _normals(bits: Tensor) -> tuple[Tensor, Tensor]:
        """Two independent standard normals from each 64-bit word, float64."""
        high = (shift_right(bits, 32).to(torch.float64) + 0.5) * 2.0**-32
        low = ((bits & 0xFFFFFFFF).to(torch.float64) + 0.5) * 2.0**-32
        radius, angle = torch.sqrt(-2.0 * torch.log(high)), 2.0 * math.pi * low
        return radius * torch.cos(angle), radius * torch.sin(angle)

    def integers(self, name: str, high: int, *shape: int) -> Tensor:
        """Uniform on {0, …, high − 1}, int64 of `shape` (bias below high · 2⁻³²)."""
        self._check(name, shape)
        if self._fused:
            return self._draw("integers", name, shape, high)
        upper_half = shift_right(self._words(name, self._index(*shape)), 32)
        return ((upper_half * high) >> 32).reshape(shape)

    def signs(self, name: str, *shape: int) -> Tensor:
        """Uniform on {−1, +1}, float32 of `shape`."""
        self._check(name, shape)
        if self._fused:
            return self._draw("signs", name, shape)
        return (
            (shift_right(self._words(name, self._index(*shape)), 63) * 2 - 1).to(torch.float32).reshape(shape)
        )

    def subsets(self, name: str, batch: int, size: int, out_of: int | Tensor, universe: int) -> Tensor:
        """Uniform subsets of {0, …, out_of − 1}: int64 of shape (batch, size), without repetition.

        Args:
            name: name of the variable.
            batch: number of subsets.
            size: elements of each subset.
            out_of: number of elements to choose from, at most `universe`; may be a device scalar.
            universe: static bound of `out_of`, which fixes the shape of the computation.
        """
        self._check(name, (batch, size))
        if self._fused and universe <= _kernels().MOST_ELEMENTS:
            chosen: Tensor = _kernels().subsets(
                self.step, self.rows, self.keys(name), batch, size, out_of, universe
            )
            return chosen
        ranks = self.uniform(name, batch, universe)
        allowed = torch.arange(universe, device=ranks.device) < out_of
        # Stable, so that equal ranks, which are rare, have the same order on every device.
        return torch.where(allowed, ranks, 2.0).argsort(dim=1, stable=True)[:, :size]


def _keys(seed: int, purpose: str, name: str) -> tuple[int, int]:
    """Two signed 64-bit words."""
    digest = hashlib.blake2b(repr((seed, purpose, name)).encode(), digest_size=16).digest()
    return (
        int.from_bytes(digest[:8], "little", signed=True),
        int.from_bytes(digest[8:], "little", signed=True),
    )


@cache  # a captured step cannot copy them from the host, and reads them at their addresses
def _keys_on_device(
    seeds: tuple[int, ...], purpose: str, name: str, device: torch.device
) -> tuple[Tensor, Tensor]:
    """`_keys` of several seeds: the first and the second words, (seeds, 1) int64 each."""
    first, second = zip(*(_keys(seed, purpose, name) for seed in seeds), strict=True)
    return torch.tensor(first, device=device).unsqueeze(1), torch.tensor(second, device=device).unsqueeze(1)


def mask_beyond(values: Tensor, within: int | Tensor | None) -> Tensor:
    """Values (…, d) with zeros from entry `within` of the last dimension on; None keeps all entries."""
    if within is None:
        return values
    return torch.where(torch.arange(values.shape[-1], device=values.device) < within, values, 0.0)
