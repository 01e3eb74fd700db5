"""Predictors fitted to a prompt's examples by other means than linear algebra: trees and small networks."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest
import torch
from baseline_checks import at, by_hand, sample
from sklearn.ensemble import GradientBoostingRegressor

from bench.tasks import baselines as known
from bench.tasks import linear_baselines as linear
from bench.tasks import network_baselines as networks
from bench.tasks import tree_baselines as trees
from bench.tasks.draws import Draws
from bench.tasks.regression import DecisionTree, TwoLayerNetwork

# Decision tree.


def test_tree_oracle_errs_at_leaves_not_seen_before_and_nowhere_else() -> None:
    task, count = DecisionTree(), 300
    prompts = sample(task, count)
    nodes, leaves = task.tree(Draws(0, "report", torch.tensor(0)), count)
    expected = torch.zeros(count, 101)
    for prompt in range(count):
        seen = set()
        coordinates, goes_right = nodes[prompt].tolist(), (prompts.inputs[prompt] > 0).tolist()
        for point in range(101):
            node = 0
            for _ in range(4):
                node = 2 * node + 1 + goes_right[point][coordinates[node]]
            if node not in seen:
                expected[prompt, point] = leaves[prompt, node - 15] ** 2
            seen.add(node)
    result = trees.tree_oracle(prompts)
    assert result.mean == pytest.approx(expected.double().mean(dim=0).tolist(), rel=1e-4)
    assert result.kind == "floor"


def test_tree_oracle_by_head() -> None:
    prompts = by_hand([[0.0]] * 5, [3, 2, 3, 2, 1])
    assert trees.tree_oracle(prompts).mean == [9, 4, 0, 0, 1]


@pytest.mark.slow
def test_trees_on_signs_are_better_and_neither_reaches_the_oracle() -> None:
    prompts = sample(DecisionTree(), 128)
    on_x = trees.greedy_tree(prompts, 4, signs=False)
    on_signs = trees.greedy_tree(prompts, 4, signs=True)
    assert on_x is not None
    assert on_signs is not None
    assert on_x.positions[-1] == 100
    assert trees.tree_oracle(prompts).mean[100] < on_signs.mean[-1] < on_x.mean[-1]


def test_a_tree_of_depth_one_by_head() -> None:
    prompts = by_hand([[-1], [1], [-2], [3]], [0, 4, 0, 4])
    result = trees.greedy_tree(prompts, 1, signs=True)
    assert result is not None
    assert dict(zip(result.positions, result.mean, strict=True)) == {0: 0, 2: 0, 3: 0}


@pytest.mark.slow
def test_without_scikit_learn_its_trees_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("sklearn"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    task = DecisionTree(n_points=6)
    prompts = sample(task, 4)
    with_trees = [baseline.name for baseline in task.baselines(prompts)]
    monkeypatch.setattr(builtins, "__import__", without)
    without_trees = [baseline.name for baseline in task.baselines(prompts)]
    scikit = [name for name in with_trees if "CART" in name or "boosting" in name]
    assert len(scikit) == 6
    assert [name for name in with_trees if name not in scikit] == without_trees


def test_a_tree_of_full_depth_recalls_what_it_saw() -> None:
    prompts = by_hand([[-1, 1], [1, -2], [3, 1], [-2, -1], [3, 1]], [0, 4, 1, 7, 1])
    result = trees.greedy_tree(prompts, None, signs=False)
    assert result is not None
    assert result.name == "CART of full depth on x"
    assert at(result)[4] == 0
    shallow = trees.greedy_tree(prompts, 1, signs=False)
    assert shallow is not None
    assert at(shallow)[4] > 0


@pytest.mark.slow
def test_boosted_trees_are_scikit_learns_on_signs_or_on_x() -> None:
    prompts = sample(DecisionTree(n_points=21), 3)
    x, y = prompts.inputs.double().numpy(), prompts.targets.double().numpy()
    for signs, features in ((False, x), (True, np.sign(x))):
        scores = []
        for row in range(3):
            fitted = GradientBoostingRegressor(random_state=0).fit(features[row, :20], y[row, :20])
            scores.append((fitted.predict(features[row, 20:21])[0] - y[row, 20]) ** 2)
        result = trees.boosted_trees(prompts, signs=signs)
        assert result is not None
        assert at(result)[20] == pytest.approx(np.mean(scores), rel=1e-4)


# Networks trained by gradient descent.


def test_a_decision_tree_is_compared_with_trees_of_its_depth_and_of_any_on_signs_and_on_x(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trees, "BOOSTED_PROMPTS", 2)  # the oracle then has a row for as few
    task = DecisionTree(n_dims=2, n_points=4, depth=1)
    rows = task.baselines(sample(task, 3))
    fitted = {"CART of depth 1", "CART of full depth", "gradient boosting"}
    expected = {f"{name} on {features}" for name in fitted for features in ("x", "signs of x")}
    others = {"zero", "3 nearest neighbours", "oracle that knows the tree"}
    expected |= others | {"oracle that knows the tree, first 2 prompts"}
    assert sorted(row.name for row in rows) == sorted(expected)
    assert [row.name for row in rows if row.kind == "floor"] == ["oracle that knows the tree"]
    assert {row.name for row in rows if row.prompts == 2} == {
        "gradient boosting on x",
        "gradient boosting on signs of x",
        "oracle that knows the tree, first 2 prompts",
    }


def test_a_trained_network_is_what_plain_torch_trains_one_prompt_at_a_time() -> None:
    prompts = sample(TwoLayerNetwork(n_dims=3, n_points=6), 3)
    result = networks.trained_networks(prompts, steps=(7, 30), width=5)
    names = [f"network of width 5, {steps} Adam steps" for steps in (7, 30)]
    assert [b.name for b in result] == names
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 5), (1, 5), (5, 1), (1, 1)]
    starts = [torch.rand(3, *shape, generator=generator) * 2 - 1 for shape in shapes]
    scores: dict[int, list[float]] = {7: [], 30: []}
    for row in range(3):
        network = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU(), torch.nn.Linear(5, 1))
        with torch.no_grad():
            for parameter, start, inputs in zip(network.parameters(), starts, (3, 3, 5, 5), strict=True):
                parameter.copy_((start[row] / inputs**0.5).T.reshape(parameter.shape))
        optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
        x, y = prompts.inputs[row], prompts.targets[row]
        for step in range(1, 31):
            optimizer.zero_grad()
            (network(x[:5]).squeeze(1) - y[:5]).square().mean().backward()
            optimizer.step()
            if step in scores:
                scores[step].append(float((network(x[5:]).squeeze() - y[5]).detach() ** 2))
    for baseline, step in zip(result, (7, 30), strict=True):
        assert at(baseline)[5] == pytest.approx(np.mean(scores[step]), rel=1e-3)


@pytest.mark.slow
def test_trained_networks_learn_what_no_linear_function_can() -> None:
    prompts = sample(TwoLayerNetwork(), 32)
    short, long = networks.trained_networks(prompts, steps=(20, 200), width=100)
    scale = 20
    assert at(short)[0] == at(long)[0] == at(known.trivial(TwoLayerNetwork(), prompts))[0]
    assert at(long)[100] < 0.4 * scale
    assert at(long)[100] < at(linear.ridge(prompts, 20.0))[100]
    assert at(long)[100] < at(short)[100]
    assert long.seconds >= short.seconds > 0
