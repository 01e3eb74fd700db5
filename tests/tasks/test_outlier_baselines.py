"""Reference predictors among outliers: against theory, against NumPy, and against answers done by head."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from baseline_checks import agrees, at, by_hand, sample
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.tasks import baselines as known
from bench.tasks import linear_baselines as linear
from bench.tasks import outlier_baselines as outliers
from bench.tasks.baselines import Baseline
from bench.tasks.outliers import CLEAN, ManyOutlierRegression, OrthogonalOutlierRegression
from bench.tasks.task import Prompts

RELEASED = OrthogonalOutlierRegression(
    plane="unrelated",
    coefficients="per_prompt",
    directions="separate",
    basis="orthogonal",
    evaluation_pattern="released_code",
)


@pytest.fixture(scope="module")
def orthogonal() -> Prompts:
    return sample(OrthogonalOutlierRegression(), 640)


@pytest.fixture(scope="module")
def floor(orthogonal: Prompts) -> Baseline:
    return outliers.orthogonal_least_squares(orthogonal)


def among(values: list[list[float]], counted: list[bool], inputs: list[list[float]]) -> Prompts:
    """One prompt by hand, twice, whose values are whole vectors."""
    plain = by_hand(inputs, [value[0] for value in values])
    return replace(plain, counted=torch.tensor([counted] * 2), more={"values": torch.tensor([values] * 2)})


@pytest.mark.slow
def test_one_outlier_shows_the_plane_that_w_is_orthogonal_to(floor: Baseline) -> None:
    # In the paper's pattern every clean pair has an outlier before it.
    agrees(floor, {2 * c + 1: max(0.0, 1 - c / 18) for c in range(50)}, scale=20)
    assert max(floor.mean[19:]) < 1e-8
    assert (floor.kind, floor.positions) == ("floor", list(range(1, 101, 2)))


@pytest.mark.slow
def test_knowing_the_plane_is_better_than_leaving_outliers_out(orthogonal: Prompts, floor: Baseline) -> None:
    clean = outliers.clean_least_squares(orthogonal, kind="baseline")
    agrees(clean, {2 * c + 1: max(0.0, 1 - c / 20) for c in range(50)}, scale=20)
    assert clean.kind == "baseline"
    assert floor.mean[0] == clean.mean[0]
    assert sum(floor.mean) < sum(clean.mean) * 0.95
    # Two dimensions fewer: exact two clean pairs earlier.
    assert max(floor.mean[18:20]) < 1e-4
    assert min(clean.mean[18:20]) > 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    "task",
    [
        OrthogonalOutlierRegression(directions="separate"),
        OrthogonalOutlierRegression(coefficients="per_prompt"),
        OrthogonalOutlierRegression(divisor="root", basis="orthogonal"),
    ],
    ids=["separate planes", "one outlier a prompt", "other scale and basis"],
)
def test_every_plane_orthogonal_to_w_is_made_use_of(task: OrthogonalOutlierRegression) -> None:
    result = outliers.orthogonal_least_squares(sample(task, 320))
    shown = 4 if task.directions == "separate" else 2  # dimensions, once two outlier pairs were seen
    agrees(result, {2 * c + 1: max(0.0, 1 - c / (20 - shown)) for c in range(1, 50)}, scale=20)


@pytest.mark.slow
def test_outliers_that_have_nothing_to_do_with_w_leave_plain_least_squares() -> None:
    prompts = sample(RELEASED, 640)
    result = outliers.clean_least_squares(prompts)
    assert result.positions == [0, *range(1, 101, 2)]
    agrees(result, {position: max(0.0, 1 - c / 20) for c, position in enumerate(result.positions)}, scale=20)
    assert result.kind == "floor"


@pytest.mark.slow
def test_many_outliers_are_left_out_or_fitted() -> None:
    prompts = sample(ManyOutlierRegression(), 320)
    clean, every = outliers.clean_least_squares(prompts), outliers.indiscriminate_least_squares(prompts)
    assert clean.positions == every.positions == list(range(9, 512, 10))
    agrees(clean, {10 * c + 9: max(0.0, 1 - c / 20) for c in range(51)}, scale=20)
    assert max(clean.mean[20:]) < 1e-4
    assert min(every.mean[20:]) > 0.05 * 20


def test_clean_prompts_are_linear_regression() -> None:
    prompts = sample(OrthogonalOutlierRegression(n_points=25), 64, CLEAN)
    found = outliers.clean_least_squares(prompts)
    assert found.mean == linear.least_squares(prompts).mean
    assert outliers.orthogonal_least_squares(prompts).mean == pytest.approx(found.mean, abs=1e-8)
    assert found.positions == list(range(25))


def test_indiscriminate_least_squares_is_numpys() -> None:
    task = ManyOutlierRegression(n_dims=4, n_points=60)
    prompts = sample(task, 6)
    result = outliers.indiscriminate_least_squares(prompts)
    x, y = prompts.inputs.double().numpy(), prompts.targets.double().numpy()
    for position in task.clean_positions():
        said = [
            x[row, position] @ np.linalg.lstsq(x[row, :position], y[row, :position], rcond=1e-12)[0]
            for row in range(6)
        ]
        expected = np.mean((np.array(said) - y[:, position]) ** 2)
        assert at(result)[position] == pytest.approx(expected, rel=1e-4, abs=1e-9)


def test_predictors_among_outliers_by_head() -> None:
    # w = (0, 0, 2). The outlier pair spans the first two axes; one clean pair then tells the third weight.
    prompts = among(
        values=[[2, 0, 0], [1, 1, 0], [2, 0, 0], [6, 0, 0]],
        counted=[True, False, True, True],
        inputs=[[0, 3, 1], [1, 0, 0], [5, 7, 1], [1, 1, 3]],
    )
    assert outliers.orthogonal_least_squares(prompts).mean == pytest.approx([4, 0, 0], abs=1e-12)
    # Without the outlier: w = (0, 0.6, 0.2) after one pair says 4.4; two pairs leave one direction.
    clean = outliers.clean_least_squares(prompts)
    assert clean.mean[:2] == pytest.approx([4, 5.76])
    assert clean.mean[2] > 1e-2
    # The outlier as a datum says w₁ = 1: 5 + 4.4 for 2.
    every = outliers.indiscriminate_least_squares(prompts)
    assert every.mean[:2] == pytest.approx([4, (5 + 4.4 - 2) ** 2])
    assert every.positions == [0, 2, 3]
    assert known.trivial(OrthogonalOutlierRegression(), prompts).mean == [4, 4, 36]


@given(seed=st.integers(0, 2**31), size=st.sampled_from([1e-3, 1.0, 1e6]))
@settings(max_examples=20)
def test_what_outliers_hold_does_not_matter_to_who_leaves_them_out(seed: int, size: float) -> None:
    prompts = sample(ManyOutlierRegression(n_dims=4, n_points=40), 5)
    generator = torch.Generator().manual_seed(seed)

    def other(values: torch.Tensor) -> torch.Tensor:
        drawn = size * torch.randn(values.shape, generator=generator)
        assert prompts.counted is not None
        clean = prompts.counted if values.ndim == 2 else prompts.counted.unsqueeze(-1)
        return torch.where(clean, values, drawn)

    changed = replace(prompts, inputs=other(prompts.inputs), targets=other(prompts.targets))
    assert outliers.clean_least_squares(changed).mean == outliers.clean_least_squares(prompts).mean
    assert (
        outliers.indiscriminate_least_squares(changed).mean
        != outliers.indiscriminate_least_squares(prompts).mean
    )


@given(seed=st.integers(0, 2**31), scales=st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=2))
@settings(max_examples=20)
def test_the_plane_counts_and_not_how_long_its_outliers_are(seed: int, scales: list[float]) -> None:
    prompts = sample(OrthogonalOutlierRegression(n_dims=5, n_points=13, coefficients="per_prompt"), 6)
    assert prompts.counted is not None
    clean = prompts.counted.unsqueeze(-1)
    changed = replace(
        prompts,
        inputs=torch.where(clean, prompts.inputs, scales[0] * prompts.inputs),
        more={"values": torch.where(clean, prompts.more["values"], scales[1] * prompts.more["values"])},
    )
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    shuffled = Prompts(
        changed.tokens[order], changed.targets[order], changed.inputs[order],
        clean[order, :, 0], {"values": changed.more["values"][order]},
    )  # fmt: skip
    expected = outliers.orthogonal_least_squares(prompts).mean
    assert outliers.orthogonal_least_squares(shuffled).mean == pytest.approx(expected, rel=1e-3, abs=1e-6)
