"""Training with every backend: alike within rounding, or said to differ."""

from __future__ import annotations

import math

import pytest
import torch
from small_runs import small_run

from bench.kernels import product
from bench.kernels.ssm import sequential
from bench.train import backends_agree
from bench.train.backends_agree import Agreement, compare, largest_difference, training_losses

CPU = torch.device("cpu")


def trained(monkeypatch: pytest.MonkeyPatch, steps: int = 4) -> dict[str, Agreement]:
    """S4 alone, with two prompts a step: what remains takes seconds."""
    monkeypatch.setattr(backends_agree, "TRAINED", {"s4": {}})
    monkeypatch.setattr(backends_agree, "BATCH", {"cpu": 2})
    return {agreement.backend: agreement for agreement in compare(CPU, steps)}


@pytest.mark.slow
def test_a_correct_backend_trains_as_the_reference_does(monkeypatch: pytest.MonkeyPatch) -> None:
    found = trained(monkeypatch)
    yardstick, sequential = found["reference, perturbed"], found["sequential"]
    assert yardstick.difference is not None
    assert 0 < yardstick.difference < 1e-5, "the last bits of weights, seen in the loss"
    assert sequential.agrees is True
    assert sequential.loss == pytest.approx(found["reference"].loss, rel=1e-5)
    stacked = found["sequential, stack of 4"]
    assert stacked.agrees is True
    assert stacked.loss == pytest.approx(sequential.loss, rel=1e-5)
    assert found["mamba_ssm"].unavailable == "needs an NVIDIA GPU"


@pytest.mark.slow
def test_a_backend_that_is_off_by_a_thousandth_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    correct = sequential.ssm
    monkeypatch.setattr(sequential, "ssm", lambda *values: 1.001 * correct(*values))
    assert trained(monkeypatch)["sequential"].agrees is False


def test_a_comparison_leaves_the_settings_of_the_process() -> None:
    """A training in another precision, and its seeds, would change what is compared next."""
    run = small_run("s4", precision="bf16x3", steps=2, checkpoints=(2,))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    training_losses(run, CPU, "sequential")
    assert product.current().name == "fp32"
    assert torch.rand(3).equal(expected)


@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_loss_that_is_no_number_agrees_with_nothing(at: int) -> None:
    losses = [1.0, 0.5, 0.4, 0.3]
    spoiled = [*losses[:at], math.nan, *losses[at + 1 :]]
    assert largest_difference([1.0, 0.6, 0.4, 0.3], losses) == pytest.approx(0.2)
    assert math.isnan(largest_difference(spoiled, losses))
    assert math.isnan(largest_difference(losses, spoiled))
