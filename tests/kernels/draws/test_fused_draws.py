"""Random numbers that a fused kernel draws: the same bits as PyTorch's."""

from __future__ import annotations

import pytest
import torch
from kernel_checks import TRITON

from bench.tasks.draws import Draws


class FusedDraws(Draws):
    _fused = True


@pytest.mark.parametrize("rows", [None, (5, 2, 900)])
@pytest.mark.parametrize("seed", [3, (3, 2**40, 0)])
@pytest.mark.parametrize("name", [TRITON])
def test_fused_draws_are_the_same_bits(
    name: str, seed: int | tuple[int, ...], rows: tuple[int, ...] | None
) -> None:
    """Of one seed, and of several seeds with one row each."""
    numbers, batch = None if rows is None else torch.tensor(rows), None if isinstance(seed, int) else 1
    plain, fused = (
        kind(seed, "train", torch.tensor(2**40 + 7), numbers, batch) for kind in (Draws, FusedDraws)
    )
    for draw in (
        lambda draws: draws.uniform("b", 3, 5, 21),
        lambda draws: draws.normal("c", 3, 7, 13),
        lambda draws: draws.normal("c", 3, 7, 13, within=torch.tensor(5), double=True),
        lambda draws: draws.normal("c", 3, 7, 13, within=12),
        lambda draws: draws.integers("d", 20, 3, 101),
        lambda draws: draws.signs("e", 3, 101),
        lambda draws: draws.subsets("f", 3, 4, 9, 20),
        lambda draws: draws.subsets("f", 3, 2, torch.tensor(5), 10),
        lambda draws: draws.subsets("g", 3, 9, 9, 9),
    ):
        torch.testing.assert_close(draw(fused), draw(plain), rtol=0, atol=0)


@pytest.mark.parametrize("name", [TRITON])
def test_fused_draws_of_several_seeds_are_those_of_each(name: str) -> None:
    step, seeds, rows = torch.tensor(9), (8, 2), torch.tensor([4, 0, 71, 3, 3, 5])
    for numbers in (None, rows):
        together = FusedDraws(seeds, "train", step, numbers, batch=3)
        alone = [
            FusedDraws(seed, "train", step, None if numbers is None else share)
            for seed, share in zip(seeds, rows.chunk(2), strict=True)
        ]
        for draw in (
            lambda draws, batch: draws.normal("a", batch, 3, 31),
            lambda draws, batch: draws.integers("b", 7, batch, 95),
            lambda draws, batch: draws.subsets("c", batch, 2, 6, 9),
        ):
            assert torch.equal(draw(together, 6), torch.cat([draw(draws, 3) for draws in alone]))
