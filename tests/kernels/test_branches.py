"""Work on a branch: what it computes, and its order on a processor (on a GPU: tests/test_cuda.py)."""

from __future__ import annotations

import pytest
import torch

from bench.kernels.branches import Branch


def test_on_a_processor_a_branch_runs_in_its_place() -> None:
    value = torch.zeros(())
    branch = Branch(value)
    with branch:
        value.add_(1)
    value.mul_(3)
    with branch:
        value.add_(1)
    branch.join()
    assert value == 4


def test_an_error_on_a_branch_is_not_hidden() -> None:
    branch = Branch(torch.zeros(()))
    with pytest.raises(ZeroDivisionError), branch:
        _ = 1 / 0
