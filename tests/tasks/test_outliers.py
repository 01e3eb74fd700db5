"""Linear regression among outliers: which pairs are replaced, by what, and what counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from small_runs import training_loss

from bench.tasks.draws import Draws
from bench.tasks.outliers import (
    CLEAN,
    ManyOutlierRegression,
    OrthogonalOutlierRegression,
    OutlierRegression,
)
from bench.tasks.task import Prompts

BOTH = [
    pytest.param(OrthogonalOutlierRegression(), id="orthogonal"),
    pytest.param(ManyOutlierRegression(), id="many"),
]
UNLIKELY = 1e-4


def draws(step: int = 0, purpose: str = "train") -> Draws:
    return Draws(0, purpose, torch.tensor(step))


def weights_of(prompts: Prompts) -> torch.Tensor:
    """Each prompt's w from its clean pairs, (B, d) float64."""
    found = []
    for inputs, targets, clean in zip(prompts.inputs, prompts.targets, prompts.counted, strict=True):
        x, y = inputs[clean].double(), targets[clean].double()
        found.append(torch.linalg.lstsq(x, y.unsqueeze(-1), driver="gelsd").solution.squeeze(-1))
    return torch.stack(found)


def outliers_of(prompts: Prompts, prompt: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and values of one prompt's outliers, (outliers, d) float64."""
    replaced = ~prompts.counted[prompt]
    return prompts.inputs[prompt, replaced].double(), prompts.more["values"][prompt, replaced].double()


def rank(vectors: torch.Tensor) -> int:
    return int(torch.linalg.matrix_rank(vectors / vectors.norm(dim=-1, keepdim=True), atol=1e-4))


# Where outliers stand.


@pytest.mark.parametrize(
    ("task", "positions", "fiftieth"),
    [
        (OrthogonalOutlierRegression(), list(range(1, 101, 2)), 99),
        (ManyOutlierRegression(), list(range(9, 512, 10)), 499),
        (OrthogonalOutlierRegression(evaluation_pattern="released_code"), [0, *range(1, 101, 2)], 97),
        (ManyOutlierRegression(evaluation_pattern="released_code"), list(range(10, 512)), 59),
        (ManyOutlierRegression(outlier_probability=0.5), list(range(1, 512, 2)), 99),
    ],
)
def test_evaluation_is_at_the_positions_of_the_text_or_of_the_released_code(
    task: OutlierRegression, positions: list[int], fiftieth: int
) -> None:
    evaluation = task.evaluations()["report"]
    assert list(evaluation.positions) == positions
    assert evaluation.positions[evaluation.marks["50th_clean"]] == fiftieth
    assert task.headline == "50th_clean"
    prompts = task.sample_evaluation(draws(purpose="report"), 4)
    assert prompts.counted is not None
    for row in prompts.counted:
        assert row.nonzero().flatten().tolist() == positions
    if len(positions) > 50:  # the next clean pair has seen 50
        assert evaluation.positions[evaluation.marks["after_50_clean"]] == positions[50]
    else:
        assert "after_50_clean" not in evaluation.marks


def test_a_prompt_with_fewer_clean_pairs_is_scored_at_its_last() -> None:
    task = OrthogonalOutlierRegression(outlier_probability=0.9)
    assert list(task.evaluations()["report"].positions) == list(range(9, 101, 10))
    assert (task.headline, task.evaluations()["report"].marks["last"]) == ("last", 9)
    assert set(task.evaluations()[CLEAN].marks) == {"50th_clean", "after_50_clean", "last"}


@pytest.mark.parametrize("task", BOTH)
def test_clean_prompts_are_linear_regression(task: OutlierRegression) -> None:
    prompts = task.sample_evaluation(draws(purpose=CLEAN), 6, CLEAN)
    assert prompts.counted is not None
    assert bool(prompts.counted.all())
    w = weights_of(prompts)
    assert torch.allclose(
        torch.einsum("bnd,bd->bn", prompts.inputs.double(), w), prompts.targets.double(), atol=1e-4
    )
    assert not prompts.tokens[:, 1::2, 1:].any()


@pytest.mark.parametrize("task", BOTH)
def test_every_pair_is_replaced_with_probability_p_and_by_itself(task: OutlierRegression) -> None:
    replaced = ~task.sample(draws(), 400).counted
    p, n = task.outlier_probability, task.n_points
    count = int(replaced.sum())
    assert stats.binomtest(count, replaced.numel(), p).pvalue > UNLIKELY
    by_position = replaced.sum(dim=0).numpy()
    assert stats.chisquare(by_position, np.full(n, by_position.mean())).pvalue > UNLIKELY
    pairs = torch.stack((replaced[:, :-1].reshape(-1), replaced[:, 1:].reshape(-1))).numpy()
    table = np.array([[np.sum((pairs[0] == a) & (pairs[1] == b)) for b in (0, 1)] for a in (0, 1)])
    assert stats.chi2_contingency(table).pvalue > UNLIKELY
    others = ~task.sample(draws(1), 400).counted
    assert not torch.equal(replaced, others)


# What they are.


@pytest.mark.parametrize("task", BOTH)
def test_clean_pairs_are_linear_and_do_not_depend_on_the_outliers(task: OutlierRegression) -> None:
    n_points = task.n_points
    some = task.sample(draws(), 6)
    more = type(task)(outlier_probability=0.99 if n_points > 200 else 0.8).sample(draws(), 6)
    both = some.counted & more.counted
    assert torch.equal(some.tokens.view(6, n_points, 2, 20)[both], more.tokens.view(6, n_points, 2, 20)[both])


@settings(max_examples=20)
@given(step=st.integers(0, 10**6))
def test_outliers_span_a_plane_orthogonal_to_w(step: int) -> None:
    task = OrthogonalOutlierRegression()
    prompts = task.sample(draws(step), 3)
    w = draws(step).normal("w", 3, 20).double()
    for prompt in range(3):
        x, y = outliers_of(prompts, prompt)
        for vectors in (x, y):
            cosine = (vectors @ w[prompt]) / (vectors.norm(dim=-1) * w[prompt].norm())
            assert float(cosine.abs().max()) < 1e-5
        assert rank(x) == rank(y) == rank(torch.cat((x, y))) == 2


def test_w_of_the_clean_pairs_is_the_w_that_outliers_are_orthogonal_to() -> None:
    prompts = OrthogonalOutlierRegression(n_points=301, outlier_probability=0.5).sample(draws(), 4)
    assert torch.allclose(weights_of(prompts), draws().normal("w", 4, 20).double(), atol=1e-4)


def test_u_and_v_are_normal_vectors_less_their_part_along_w() -> None:
    """A plane's Gram matrix then has the moments of a Wishart matrix in d − 1 dimensions."""
    task = OrthogonalOutlierRegression()
    plane = task.planes(draws(), task.weights(draws(), 4000)).squeeze(1)
    gram = (plane @ plane.mT).numpy()
    assert stats.kstest(gram[:, 0, 0], stats.chi2(19).cdf).pvalue > UNLIKELY
    assert abs(gram[:, 0, 1].mean()) < 4 * np.sqrt(19 / 4000)
    assert gram[:, 0, 1].var() == pytest.approx(19, rel=0.1)
    orthogonal = OrthogonalOutlierRegression(basis="orthogonal").planes(draws(), task.weights(draws(), 50))
    assert float((orthogonal[:, :, 0] * orthogonal[:, :, 1]).sum(-1).abs().max()) < 1e-10


def test_the_root_divisor_makes_outliers_as_long_as_their_plane_is_wide() -> None:
    """With a² + b² = 1 an outlier is cos·u + sin·v: between the plane's shortest and longest radius."""
    task = OrthogonalOutlierRegression(divisor="root")
    weights = task.weights(draws(), 40)
    lengths = task.outliers(draws(), weights).double().norm(dim=-1)
    radii = torch.linalg.svdvals(task.planes(draws(), weights))
    assert bool((lengths <= radii.max(dim=-1, keepdim=True).values + 1e-5).all())
    assert bool((lengths >= radii.min(dim=-1, keepdim=True).values - 1e-5).all())


def test_the_released_divisor_of_b_sees_the_a_that_was_just_overwritten() -> None:
    """The released statements, one after another, on the coefficients that both variants draw."""
    released = OrthogonalOutlierRegression(divisor="overwritten")
    weights = released.weights(draws(), 300)
    drawn = draws().normal("coefficients", 300, 2, released.n_points, 2, double=True)
    a, b = drawn[..., 0], -drawn[..., 1]
    a = a / (a**2 + b**2)
    b = b / (a**2 + b**2)
    u, v = released.planes(draws(), weights).unbind(dim=2)  # (B, 1, d): one plane for x and y
    expected = a[..., None] * u[:, :, None] + b[..., None] * v[:, :, None]
    outliers = released.outliers(draws(), weights)
    assert torch.allclose(outliers.double(), expected.transpose(1, 2), rtol=1e-5, atol=1e-5)
    text = OrthogonalOutlierRegression().outliers(draws(), weights)
    medians = [float(vectors.norm(dim=-1).median()) for vectors in (text, outliers)]
    assert medians == pytest.approx([3.70, 4.30], rel=0.05)
    assert OrthogonalOutlierRegression.protocol_fields["divisor"]["released_code"] == "overwritten"


def test_outliers_have_the_heavy_tail_of_the_papers_divisor() -> None:
    prompts = OrthogonalOutlierRegression().sample(draws(), 400)
    x = torch.cat([outliers_of(prompts, i)[0] for i in range(400)])
    lengths = x.norm(dim=-1)
    for share in (0.5, 0.99):  # √19 / r, where r² is exponential of mean 2: no second moment
        expected = 19**0.5 / (-2 * math.log(share)) ** 0.5
        assert float(lengths.quantile(share)) == pytest.approx(expected, rel=0.1)


def test_the_released_outliers_are_one_vector_a_prompt_from_other_planes() -> None:
    released = {
        field: values["released_code"]
        for field, values in OrthogonalOutlierRegression.protocol_fields.items()
    }
    prompts = OrthogonalOutlierRegression(**released).sample(draws(), 300)
    cosines = []
    for prompt in range(300):
        x, y = outliers_of(prompts, prompt)
        w = draws().normal("w", 300, 20)[prompt].double()
        assert bool((x == x[0]).all())
        assert bool((y == y[0]).all())
        assert not torch.equal(x[0], y[0])
        cosines.append(float(x[0] @ w / (x[0].norm() * w.norm())))
    assert np.std(cosines) == pytest.approx(20**-0.5, rel=0.15)  # of independent directions
    alone = OrthogonalOutlierRegression(directions="separate").sample(draws(), 1)
    x, y = outliers_of(alone, 0)
    assert (rank(x), rank(y), rank(torch.cat((x, y)))) == (2, 2, 4)


def test_many_outliers_are_ones_and_a_one_hot_value() -> None:
    prompts = ManyOutlierRegression().sample(draws(), 5, 7)
    for prompt in range(5):
        x, y = outliers_of(prompts, prompt)
        assert bool((x == 1).all())  # whole, also while clean inputs show 7 coordinates
        assert bool((y[:, 0] == 1).all())
        assert not y[:, 1:].any()
    assert not prompts.inputs[prompts.counted][:, 7:].any()


# What counts.


@pytest.mark.parametrize("task", BOTH)
@pytest.mark.parametrize("step", [0, 10_000, 60_000])
def test_the_loss_is_the_mean_over_clean_pairs_shown(task: OutlierRegression, step: int) -> None:
    prompts = task.batch(draws(step), 8)
    outputs = torch.randn(
        8, 2 * task.n_points, 1, generator=torch.Generator().manual_seed(1)
    ).requires_grad_()
    loss = training_loss(task, outputs, prompts, torch.tensor(step))
    shown = task.points_at(step)
    errors = (outputs[:, 0::2, 0] - prompts.targets)[:, :shown] ** 2
    assert loss.item() == pytest.approx(errors[prompts.counted[:, :shown]].mean().item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, outputs)
    moved = gradient[:, 0::2, 0] != 0
    assert torch.equal(moved[:, :shown], prompts.counted[:, :shown])
    assert not moved[:, shown:].any()


def test_a_batch_without_a_clean_pair_has_no_loss_and_no_gradient() -> None:
    task = ManyOutlierRegression(outlier_probability=0.99, n_points=200)
    prompts = task.sample(draws(), 2)
    nothing = Prompts(prompts.tokens, prompts.targets, prompts.inputs, torch.zeros(2, 200, dtype=torch.bool))
    outputs = torch.ones(2, 400, 1, requires_grad=True)
    loss = training_loss(task, outputs, nothing, torch.tensor(0))
    assert loss.item() == 0
    assert not torch.autograd.grad(loss, outputs)[0].any()


def test_many_outlier_prompts_grow_as_in_the_released_configuration() -> None:
    task = ManyOutlierRegression()
    curriculum = task.curriculum
    assert curriculum is not None
    assert (task.points_at(0), task.points_at(199), task.points_at(200)) == (12, 12, 14)
    assert (task.points_at(49_999), task.points_at(50_000)) == (510, 512)
    assert [curriculum.dims.at(step, 20) for step in (0, 2000, 31_999, 32_000)] == [4, 5, 19, 20]


@pytest.mark.parametrize("task", BOTH)
def test_scores_are_of_clean_pairs_only(task: OutlierRegression) -> None:
    prompts = task.sample_evaluation(draws(purpose="report"), 3)

    def right_at_clean(tokens: torch.Tensor) -> torch.Tensor:
        said = torch.where(prompts.counted, prompts.targets, 1e6)
        return torch.stack((said, said), dim=2).reshape(3, -1, 1)

    (scores,) = task.measure(right_at_clean, prompts, "report").values()
    assert scores.shape == (3, len(task.clean_positions()))
    assert not scores.any()
