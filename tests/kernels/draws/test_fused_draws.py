"""Random numbers that a fused kernel draws: the same bits as PyTorch's."""

from __future__ import annotations

import pytest
import torch
from kernel_checks import TRITON

from bench.tasks.draws import Draws


class FusedDraws(Draws):
    _fused = True


@pytest.mark.parametrize("rows", [None, (5, 2, 900)])
@pytest.mark.parametrize("name", [TRITON])
def test_fused_draws_are_the_same_bits(name: str, rows: tuple[int, ...] | None) -> None:
    numbers = None if rows is None else torch.tensor(rows)
    plain, fused = (kind(3, "train", torch.tensor(2**40 + 7), numbers) for kind in (Draws, FusedDraws))
    for draw in (
        lambda draws: draws.bits("a", 301),
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
