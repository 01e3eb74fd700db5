"""Reference predictors for recall and for chains of thought: against theory and by head."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from baseline_checks import agrees, at, sample
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.tasks import baselines as known
from bench.tasks import chain_baselines as chain
from bench.tasks import recall_baselines as recall
from bench.tasks.baselines import Baseline
from bench.tasks.chain_of_thought import HIDDEN, TEACHER_FORCED, ChainOfThought
from bench.tasks.recall import VectorMQAR
from bench.tasks.task import MAIN, Prompts

# Recall.


def test_recall_has_its_analytic_errors() -> None:
    task = VectorMQAR()
    prompts = sample(task, 640)
    zero = known.trivial(task, prompts)
    nearest, mean, memory = recall.recall_baselines(prompts)
    assert zero.mean == pytest.approx([1.0] * 16, rel=1e-4)
    assert nearest.mean == [0.0] * 16
    agrees(mean, dict.fromkeys(range(16), 1 - 1 / 32), scale=1)
    agrees(memory, dict.fromkeys(range(16), 1 - 20 / 32), scale=1)
    assert [b.kind for b in (zero, nearest, mean, memory)] == ["trivial", "floor", "baseline", "baseline"]


def test_a_linear_memory_holds_as_many_pairs_as_it_has_dimensions() -> None:
    *_, memory = recall.recall_baselines(sample(VectorMQAR(n_dims=8, pairs=8, queries=3), 40))
    assert max(memory.mean) < 1e-12
    *_, memory = recall.recall_baselines(sample(VectorMQAR(n_dims=8, pairs=4, queries=3), 40))
    assert max(memory.mean) < 1e-12


def test_a_linear_memory_is_the_best_matrix() -> None:
    generator = torch.Generator().manual_seed(0)
    keys, values = (torch.randn(1, 9, 4, generator=generator).double() for _ in range(2))
    found = recall.linear_memory(keys, values, keys)
    expected = keys[0].numpy() @ np.linalg.lstsq(keys[0].numpy(), values[0].numpy())[0]
    assert torch.allclose(found[0], torch.from_numpy(expected))


@given(seed=st.integers(0, 2**31), pairs=st.integers(1, 12), layout=st.sampled_from(["compact", "spaced"]))
@settings(max_examples=25)
def test_lookup_is_exact_for_any_order_of_pairs(seed: int, pairs: int, layout: str) -> None:
    prompts = sample(VectorMQAR(n_dims=3, pairs=pairs, queries=min(pairs, 4), layout=layout), 3)
    order = torch.randperm(pairs, generator=torch.Generator().manual_seed(seed))
    more = {name: prompts.more[name][:, order] for name in ("keys", "values")}
    nearest, *_ = recall.recall_baselines(replace(prompts, more=more))
    assert set(nearest.mean) == set(nearest.standard_error) == {0.0}


def test_recall_by_head() -> None:
    keys = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    values = torch.tensor([[[0.0, 2.0], [4.0, 0.0]]])
    queries = torch.tensor([[[0.0, 1.0], [0.9, 0.1]]])
    assert recall.nearest_key(keys, values, queries).tolist() == [[[4, 0], [0, 2]]]
    assert recall.mean_value(keys, values, queries).tolist() == [[[2, 1], [2, 1]]]
    assert torch.allclose(
        recall.linear_memory(keys, values, queries), torch.tensor([[[4.0, 0.0], [0.4, 1.8]]])
    )


# Chains of thought.


@pytest.fixture(scope="module")
def chains() -> Prompts:
    return sample(ChainOfThought(), 320)


def named(prompts: Prompts) -> dict[tuple[str, str], Baseline]:
    """By evaluation and kind."""
    found = chain.chain_baselines(prompts)
    result = {(b.evaluation, b.kind): b for b in found}
    assert len(result) == len(found) == 5
    return result


@pytest.fixture(scope="module")
def predictors(chains: Prompts) -> dict[tuple[str, str], Baseline]:
    return named(chains)


def test_chains_are_exact_once_every_unit_was_active_often_enough(
    chains: Prompts, predictors: dict[tuple[str, str], Baseline]
) -> None:
    hidden = chains.more["hidden"]
    rarest = (hidden > 0).cumsum(dim=1).amin(dim=(0, 2))
    enough = int((rarest >= 10).nonzero()[0]) + 1  # points seen when all units have ten active examples
    assert 20 < enough < 60
    for one in predictors.values():
        assert max(one.mean[enough:]) < 1e-8, one.name
        assert one.positions == list(range(101))


def test_the_expectation_beats_the_construction_and_the_truth_beats_both(
    predictors: dict[tuple[str, str], Baseline],
) -> None:
    forced = np.array(predictors[TEACHER_FORCED, "floor"].mean)[1:25]
    for evaluation in (MAIN, HIDDEN):
        floor, constructed = (
            np.array(predictors[evaluation, kind].mean)[:25] for kind in ("reference", "baseline")
        )
        assert bool((floor[1:] < constructed[1:]).all())
    own = np.array(predictors[MAIN, "reference"].mean)[1:25]
    assert bool((forced < own).all())


def test_before_any_example_hidden_units_are_expected_to_be_active_by_halves(
    predictors: dict[tuple[str, str], Baseline],
) -> None:
    # E s² is d in sum; E s = ‖x‖σ/√(2π) for each unit takes d/π of it away.
    agrees(predictors[HIDDEN, "reference"], {0: 1 - 1 / math.pi}, scale=10)
    agrees(predictors[HIDDEN, "baseline"], {0: 1}, scale=10)
    agrees(predictors[MAIN, "reference"], {0: 1}, scale=10)


def test_the_construction_is_least_squares_on_the_inputs_where_a_unit_was_active() -> None:
    prompts = sample(ChainOfThought(n_dims=4, n_points=14, hidden=3), 5)
    x, s = prompts.inputs.double(), prompts.more["hidden"].double()
    found = chain.predicted_hidden(x, s, expectation=False)
    for row in range(5):
        for unit in range(3):
            for seen in range(14):
                active = s[row, :seen, unit] > 0
                said = 0.0
                if bool(active.any()):
                    inputs, values = x[row, :seen][active].numpy(), s[row, :seen, unit][active].numpy()
                    said = float(x[row, seen].numpy() @ np.linalg.lstsq(inputs, values, rcond=1e-12)[0])
                assert float(found[row, seen, unit]) == pytest.approx(max(said, 0.0), abs=2e-3, rel=2e-3)


def test_expected_hidden_units_are_close_to_those_of_weights_that_fit() -> None:
    # Rejection sampling: weights from the prior that are inactive at the same three inputs, and then what
    # they say at forty others.
    generator = torch.Generator().manual_seed(0)
    shown, asked = (torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (3, 40))
    # The variance of a weight is 2/k, with k = 1 unit.
    weights = math.sqrt(2) * torch.randn(400_000, 3, generator=generator, dtype=torch.float64)
    fits = weights[(weights @ shown.T <= 0).all(dim=1)]
    assert len(fits) > 5000
    expected = torch.relu(asked @ fits.T).mean(dim=1)
    prior = torch.relu(asked @ weights.T).mean(dim=1)
    x = torch.cat((shown.expand(40, 3, 3), asked.unsqueeze(1)), dim=1)
    found = chain.predicted_hidden(x, torch.zeros(40, 4, 1).double(), expectation=True)
    moved = (prior - expected).square().mean()  # what the three inputs tell
    missed = (found[:, 3, 0] - expected).square().mean()
    assert float(missed) < 0.02 * float(moved)


def test_an_inactive_unit_is_expected_to_be_active_on_the_other_side() -> None:
    # One weight, w ~ N(0, 2), inactive at x = 1: w/√2 has mean −√(2/π) and variance 1 − 2/π there.
    x = torch.tensor([[[1.0], [-1.0], [1.0]]], dtype=torch.float64)
    s = torch.tensor([[[0.0], [0.5], [0.0]]], dtype=torch.float64)
    found = chain.predicted_hidden(x, s, expectation=True)[0, :, 0] / math.sqrt(2)
    centre, deviation = math.sqrt(2 / math.pi), math.sqrt(1 - 2 / math.pi)
    a = centre / deviation
    rectified = centre * (1 + math.erf(a / math.sqrt(2))) / 2
    rectified += deviation * math.exp(-(a**2) / 2) / math.sqrt(2 * math.pi)
    assert found.tolist() == pytest.approx([1 / math.sqrt(2 * math.pi), rectified, 0.0], abs=1e-5)


def test_a_chain_by_head() -> None:
    # d = 1, k = 1: w = 2 and v = 3 from the first point; x = −1 leaves the unit inactive, and y = 0.
    inputs = torch.tensor([[[1.0], [2.0], [-1.0]]] * 2)
    hidden, targets = 2 * inputs.clamp(min=0), 6 * inputs.clamp(min=0)[..., 0]
    found = named(Prompts(torch.zeros(2, 9, 1), targets, inputs, more={"hidden": hidden}))
    assert found[MAIN, "baseline"].mean == pytest.approx([36, 0, 0], abs=1e-8)
    assert found[MAIN, "reference"].mean == pytest.approx([36, 0, 0], abs=1e-8)
    assert found[HIDDEN, "baseline"].mean == pytest.approx([4, 0, 0], abs=1e-8)
    assert found[TEACHER_FORCED, "floor"].mean == pytest.approx([36, 0, 0], abs=1e-8)


@given(order=st.permutations(range(4)), seed=st.integers(0, 2**31))
@settings(max_examples=15)
def test_the_order_of_hidden_units_does_not_matter(order: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(4, 12, 3, generator=generator)
    s = math.sqrt(2 / 4) * torch.relu(x @ torch.randn(4, 3, 4, generator=generator))
    y = (s @ torch.randn(4, 4, 1, generator=generator)).squeeze(-1)
    plain, permuted = (
        named(Prompts(torch.zeros(4, 36, 4), y, x, more={"hidden": units})) for units in (s, s[..., order])
    )
    for key in plain:
        assert permuted[key].mean == pytest.approx(plain[key].mean, rel=1e-2, abs=1e-6)


def test_records_of_chains_are_told_apart_by_evaluation(predictors: dict[tuple[str, str], Baseline]) -> None:
    assert {evaluation for evaluation, _ in predictors} == {MAIN, HIDDEN, TEACHER_FORCED}
    assert len({one.name for one in predictors.values()}) == 5
    assert at(predictors[MAIN, "reference"])[100] < 1e-10
