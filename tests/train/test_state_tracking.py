"""Training shows what theory says of states: parity needs a negative eigenvalue (Grazzi et al. 2024)."""

from __future__ import annotations

import pytest

import bench

TRAINED = 12


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "options", "solves_it"),
    [
        ("deltanet", {"heads": 2, "convolution": 1, "negative_eigenvalues": True}, True),
        ("deltanet", {"heads": 2, "convolution": 1}, False),
        ("mamba2", {"state": 8, "head_dim": 8, "convolution": 1}, False),
    ],
    ids=["delta rule, beta below 2", "delta rule, beta below 1", "scalar decay"],
)
def test_parity_beyond_the_trained_length_needs_negative_eigenvalues(
    architecture: str, options: dict[str, int | bool], solves_it: bool
) -> None:
    # Four seeds of the first model had at least 0.996 at 48 elements, of which 12 were trained.
    run = bench.make_run(
        bench.make_task("word_problem", group="Z2", n_points=TRAINED),
        bench.make_architecture(architecture, **options),
        layers=1, width=16, learning_rate=2e-2, steps=400, batch_size=64, evaluation_prompts=256,
        optimizer={"name": "adamw", "warmup_steps": 40, "end": 0.01},
    )  # fmt: skip
    result = bench.train_run(run).result
    described = result.facts.evaluations["longer_prompts"]
    assert result.last is not None
    accuracy = result.last.evaluations["longer_prompts"].mean[described.marks["4x_length"]]
    assert described.positions[described.marks["4x_length"]] == 4 * TRAINED - 1
    # 256 prompts: 0.6 is three standard errors above chance.
    assert accuracy >= 0.95 if solves_it else accuracy <= 0.6
