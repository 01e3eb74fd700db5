"""The in-context tasks: what is drawn, how it is laid out, what the loss counts."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from small_runs import training_loss

from bench.tasks import TASKS, Task
from bench.tasks.chain_of_thought import ChainOfThought
from bench.tasks.curriculum import Ramp
from bench.tasks.draws import Draws
from bench.tasks.dynamical_system import LinearDynamicalSystem
from bench.tasks.finite_regression import FiniteRegression
from bench.tasks.in_context import interleave
from bench.tasks.markov_chain import MarkovChain
from bench.tasks.outliers import ManyOutlierRegression, OrthogonalOutlierRegression
from bench.tasks.parity import SparseParity
from bench.tasks.recall import VectorMQAR
from bench.tasks.regression import DecisionTree, LinearRegression, SparseLinearRegression, TwoLayerNetwork
from bench.tasks.selective_copying import SelectiveCopying
from bench.tasks.task import PROTOCOLS, Prompts
from bench.tasks.token_recall import TokenMQAR
from bench.tasks.word_problem import WordProblem

ALL = [pytest.param(cls.example(), id=name) for name, cls in TASKS.items()]
DRAWN = [param for param in ALL if param.id != "ginc"]
"""Tasks whose evaluation prompts are drawn like training prompts. GINC's have a shape of their own."""
REGRESSION = [
    pytest.param(TASKS[name](), id=name)
    for name in ("linear_regression", "sparse_linear_regression", "two_layer_network", "decision_tree")
]
PADDED = [*REGRESSION, pytest.param(SparseParity(), id="sparse_parity")]
"""Tasks whose prompts are inputs and zero-padded values in turn, and nothing else."""


def draws(step: int = 0, purpose: str = "report", seed: int = 0) -> Draws:
    return Draws(seed, purpose, torch.tensor(step))


# What Table 2 and the released configurations say.


@pytest.mark.parametrize(
    ("task", "constants"),
    [
        (LinearRegression(), {"n_dims": 20, "n_points": 41}),
        (SparseLinearRegression(), {"n_dims": 20, "n_points": 101, "sparsity": 3}),
        (TwoLayerNetwork(), {"n_dims": 20, "n_points": 101, "hidden": 100, "scaled": True}),
        (DecisionTree(), {"n_dims": 20, "n_points": 101, "depth": 4}),
        (
            OrthogonalOutlierRegression(),
            {"n_dims": 20, "n_points": 101, "outlier_probability": 0.5, "divisor": "square"},
        ),
        (ManyOutlierRegression(), {"n_dims": 20, "n_points": 512, "outlier_probability": 0.9}),
        (SparseParity(), {"n_dims": 10, "n_points": 140, "sparsity": 2}),
        (ChainOfThought(), {"n_dims": 10, "n_points": 101, "hidden": 8}),
        (VectorMQAR(), {"n_dims": 20, "pairs": 32, "training_prompts": None}),
    ],
)
def test_default_constants_are_those_of_the_papers_table_2(task: Task, constants: dict[str, Any]) -> None:
    assert {name: getattr(task, name) for name in constants} == constants


def test_every_task_is_listed_under_its_own_name() -> None:
    assert {name: cls.example().name for name, cls in TASKS.items()} == {name: name for name in TASKS}


def test_protocols_name_the_fields_where_text_and_code_differ() -> None:
    for cls in TASKS.values():
        for field, choices in cls.protocol_fields.items():
            assert set(choices) == {"paper", "released_code"}
            assert cls().model_dump()[field] == choices["paper"]  # the text is the default
            released = cls(**{field: choices["released_code"]})
            assert released.identity() != cls().identity()
    for cls in TASKS.values():
        for field, settled in cls.settled_fields.items():
            assert field in cls.model_fields
            assert field not in cls.protocol_fields
            assert settled.why
    assert SparseLinearRegression.protocol_fields["n_points"] == {"paper": 101, "released_code": 41}
    assert SparseParity.protocol_fields["subset"] == {"paper": "per_prompt", "released_code": "per_batch"}
    assert SparseParity.protocol_fields["cross_entropy"]["released_code"] == "sigmoid"


@pytest.mark.parametrize(
    ("cls", "fields"),
    [
        (SparseLinearRegression, {"sparsity": 21}),
        (SparseParity, {"sparsity": 11}),
        (LinearRegression, {"n_dims": 0}),
        (LinearRegression, {"n_point": 41}),
        (LinearRegression, {"name": "sparse_parity"}),
        (DecisionTree, {"depth": 11}),
        (SparseParity, {"subset": "per_seed"}),
        (OrthogonalOutlierRegression, {"outlier_probability": 1.0}),
        (OrthogonalOutlierRegression, {"n_points": 1}),
        (ManyOutlierRegression, {"n_points": 9}),
        (ManyOutlierRegression, {"plane": "prompt"}),
        (ChainOfThought, {"hidden": 0}),
        (VectorMQAR, {"queries": 33}),
        (WordProblem, {"group": "A6"}),
        (
            WordProblem,
            {"curriculum": {"dims": {"start": 1, "increment": 1}, "points": {"start": 1, "increment": 1}}},
        ),
        (MarkovChain, {"curriculum": {"points": {"start": 1, "increment": 1}}}),
        (TokenMQAR, {"updates": 17}),
        (TokenMQAR, {"prompt_length": 62}),
        (TokenMQAR, {"prompt_length": 70, "updates": 4}),
        (TokenMQAR, {"symbols": 255}),
        (TokenMQAR, {"symbols": 32}),
        (FiniteRegression, {"functions": 0}),
        (FiniteRegression, {"functions": 2**20 + 1}),
        (FiniteRegression, {"noise": 0.0}),
        (LinearDynamicalSystem, {"radius": 1.0}),
        (LinearDynamicalSystem, {"process_noise": 0.0}),
        (LinearDynamicalSystem, {"output_noise": -0.1}),
        (SelectiveCopying, {"symbols": 3}),
        (SelectiveCopying, {"prompt_length": 32}),
        (MarkovChain, {"states": 1}),
        (MarkovChain, {"states": 16, "n_points": 1000}),
        (
            VectorMQAR,
            {"curriculum": {"dims": {"start": 1, "increment": 1}, "points": {"start": 1, "increment": 1}}},
        ),
    ],
)
def test_impossible_or_unknown_settings_are_refused(cls: type[Task], fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        cls(**fields)


def with_another_value(task: Task, field: str) -> Task | None:
    """The task with another value of a field; None if the field has one value only."""
    kind, value = type(task).model_fields[field].annotation, getattr(task, field)
    candidates: list[Any] = [*get_args(kind), None, {"points": {"start": 2, "increment": 1, "every": 9}}]
    candidates += [not value] if isinstance(value, bool) else [300_000]
    if isinstance(value, int | float):
        candidates += [value + 1, value - 1, 2 * value, value // 2, value / 2]
    for candidate in candidates:
        with contextlib.suppress(ValidationError):
            changed = type(task).model_validate({**task.model_dump(), field: candidate})
            if getattr(changed, field) != value:
                return changed
    return None


@pytest.mark.parametrize("task", ALL)
def test_identity_changes_with_every_field(task: Task) -> None:
    for field in type(task).model_fields:
        changed = with_another_value(task, field)
        if changed is None:
            fixed = field == "name" or type(task).model_fields[field].annotation is type(None)
            assert fixed, f"no other value of {task.name}'s field {field} is known: add it to the candidates"
        else:
            assert changed.identity() != task.identity(), field
    assert task.identity() == type(task)(**task.model_dump()).identity()
    assert task.identity()["version"] == task.version


@pytest.mark.parametrize("task", ALL)
def test_fields_that_came_later_do_not_change_the_identity_of_what_was_before(task: Task) -> None:
    """Results made before a field existed keep their ids: it is left out at the value that stood for it."""
    for field, before in task.later_fields.items():
        assert getattr(task, field) == before
        assert field not in task.identity()


def test_identities_of_the_first_five_tasks_are_those_of_their_first_results() -> None:
    first = {
        "linear_regression": {"n_dims", "n_points"},
        "sparse_linear_regression": {"n_dims", "n_points", "sparsity"},
        "two_layer_network": {"n_dims", "n_points", "hidden", "scaled"},
        "decision_tree": {"n_dims", "n_points", "depth"},
        "sparse_parity": {"n_dims", "n_points", "sparsity", "subset", "cross_entropy"},
    }
    for name, fields in first.items():
        assert set(TASKS[name]().identity()) == fields | {"name", "version", "curriculum"}


@pytest.mark.parametrize("task", ALL)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_task_exists_under_both_protocols(task: Task, protocol: str) -> None:
    fields = {field: choices[protocol] for field, choices in task.protocol_fields.items()}
    assert type(task)(**{**task.model_dump(), **fields}).sample_evaluation(draws(), 2).tokens.shape[0] == 2


# Layout.


def test_tokens_of_the_docstrings_example() -> None:
    inputs = torch.tensor([[[2.0, 1.0], [0.0, 3.0], [1.0, 1.0]]])
    tokens = interleave(inputs, inputs @ torch.tensor([1.0, -1.0]))
    assert tokens.tolist() == [[[2, 1], [1, 0], [0, 3], [-3, 0], [1, 1], [0, 0]]]


@pytest.mark.parametrize("task", PADDED)
def test_tokens_interleave_inputs_with_padded_targets(task: Task) -> None:
    prompts = task.sample(draws(), 5)
    length = task.length(task.n_points)
    assert prompts.tokens.shape == (5, length, task.n_inputs)
    assert length == 2 * task.n_points
    assert prompts.targets.shape == (5, task.n_points)
    assert {prompts.tokens.dtype, prompts.targets.dtype, prompts.inputs.dtype} == {torch.float32}
    assert torch.equal(prompts.tokens[:, 0::2], prompts.inputs)
    assert torch.equal(prompts.tokens[:, 1::2, 0], prompts.targets)
    assert not prompts.tokens[:, 1::2, 1:].any()


@pytest.mark.parametrize("task", ALL)
def test_a_small_sample_is_the_beginning_of_a_large_one(task: Task) -> None:
    assert torch.equal(task.sample(draws(), 9).tokens[:4], task.sample(draws(), 4).tokens)


@pytest.mark.parametrize("task", ALL)
def test_prompts_differ_between_steps_and_purposes_but_not_between_calls(task: Task) -> None:
    tokens = task.sample(draws(), 3).tokens
    assert torch.equal(tokens, task.sample(draws(), 3).tokens)
    for other in (draws(1), draws(purpose="select"), draws(purpose="train"), draws(seed=1)):
        assert not torch.equal(tokens, task.sample(other, 3).tokens)


@pytest.mark.parametrize("task", PADDED)
def test_what_is_said_at_value_tokens_is_neither_trained_nor_scored(task: Task) -> None:
    prompts = task.sample(draws(), 4)
    outputs = torch.randn(4, task.length(task.n_points), 1, generator=torch.Generator().manual_seed(0))
    changed = outputs.clone()
    changed[:, 1::2] = 1e6
    assert torch.equal(task.losses(outputs, prompts), task.losses(changed, prompts))
    assert torch.equal(task.scores(outputs, prompts), task.scores(changed, prompts))


@pytest.mark.parametrize("task", PADDED)
def test_saying_the_targets_is_perfect(task: Task) -> None:
    prompts = task.sample(draws(), 4)
    outputs = torch.zeros(4, task.length(task.n_points), 1)
    outputs[:, 0::2, 0] = prompts.targets
    perfect = 1.0 if task.metric == "accuracy" else 0.0
    assert bool((task.scores(outputs, prompts) == perfect).all())


PINNED = {
    "linear_regression": "590ef473b8d1d5ae",
    "sparse_linear_regression": "2ec4833e12d0c51e",
    "two_layer_network": "ac80db297c228e31",
    "decision_tree": "b78fbd21f1d0317f",
    "orthogonal_outlier_regression": "927503ca2ebc5967",
    "many_outlier_regression": "f18617867ba73493",
    "sparse_parity": "f5ecfe36b724bd1d",
    "chain_of_thought": "3a2c591590c0449b",
    "vector_mqar": "547e2822fccd3781",
    "ginc": "6d9fa91f49e847ee",
    "regbench": "82bdb7fcead60f3d",
    "word_problem": "7513ef76d503dcdd",
    "token_mqar": "2102eb4ae6c06318",
    "markov_chain": "754457fcb447055d",
    "finite_regression": "4f67e4a4c3556b6b",
    "linear_dynamical_system": "f4d5cc1b98e306b3",
    "selective_copying": "687fe4497cd9881b",
    "noisy_recall": "d38ecd52ed6af636",
    "fuzzy_recall": "23caf3204d8674c1",
    "memorisation": "b4f70b8cd5562336",
}


@pytest.mark.parametrize("name", TASKS)
def test_evaluation_prompts_are_those_of_every_earlier_result(name: str) -> None:
    """Comparable only while these hold: a change must raise the task's `version`."""
    prompts = TASKS[name].example().sample(draws(), 16)
    digest = hashlib.sha256(prompts.tokens.numpy().tobytes()).hexdigest()[:16]
    assert name in PINNED, f"a new task: add its digest to PINNED, {name!r}: {digest!r}"
    assert digest == PINNED[name], f"{name} draws other prompts than before: raise its version"


@pytest.mark.parametrize("task", DRAWN)
def test_shapes_are_those_a_task_states(task: Task) -> None:
    for evaluation, stated in task.evaluations().items():
        prompts = task.sample_evaluation(draws(), 3, evaluation)
        inputs = task.n_inputs if isinstance(task.n_inputs, int) else max(task.n_inputs)
        length = task.length(task.n_points)
        assert prompts.tokens.shape == ((3, length) if task.discrete else (3, length, inputs))
        assert prompts.targets.shape[:2] == (3, task.n_points)
        assert prompts.inputs.shape == (3, task.n_points, task.n_dims)
        tensors = (prompts.tokens, prompts.targets, prompts.inputs)
        assert {value.dtype for value in tensors} == {torch.int64 if task.discrete else torch.float32}
        assert not task.discrete or 0 <= prompts.tokens.min() <= prompts.tokens.max() < inputs
        assert all(bool(value.isfinite().all()) for value in tensors)
        outputs = torch.zeros(3, task.length(task.n_points), task.n_outputs)
        assert task.losses(outputs, prompts).shape == (3, task.n_points)
        assert all(0 <= column < len(stated.positions) for column in stated.marks.values())
        assert list(stated.positions) == sorted(set(stated.positions))
        assert task.headline is None or task.headline in stated.marks


@pytest.mark.parametrize("task", DRAWN)
def test_a_model_is_measured_on_every_evaluation(task: Task) -> None:
    seen: dict[str, torch.Tensor] = {}
    for name in ("report", *task.other_evaluations):
        prompts = task.sample_evaluation(draws(), 3, name)
        seen |= task.measure(lambda tokens: torch.zeros(*tokens.shape[:2], task.n_outputs), prompts, name)
    # The loss of training is recorded while training, not measured.
    assert list(seen) == [name for name in task.evaluations() if name != task.training_evaluation]
    for name, scores in seen.items():
        assert scores.shape == (3, len(task.evaluations()[name].positions))


@pytest.mark.parametrize("task", DRAWN)
def test_parts_of_a_batch_are_what_they_were(task: Task) -> None:
    prompts = task.sample_evaluation(draws(), 6)
    part = prompts.part(slice(2, 4))
    outputs = torch.randn(6, task.length(task.n_points), task.n_outputs)
    assert torch.equal(task.losses(outputs[2:4], part), task.losses(outputs, prompts)[2:4])
    assert torch.equal(part.tokens, prompts.tokens[2:4])


@pytest.mark.parametrize("task", PADDED)
def test_the_zero_shot_point_can_be_left_out_of_the_loss(task: Task) -> None:
    without = type(task)(zero_shot="left_out", curriculum=None)
    prompts = without.sample(draws(), 4)
    outputs = torch.randn(4, without.length(without.n_points), 1)
    expected = without.losses(outputs, prompts)[:, 1:].mean()
    assert training_loss(without, outputs, prompts, torch.tensor(0)).item() == pytest.approx(
        expected.item(), rel=1e-5
    )


# Curriculum.


@pytest.mark.parametrize("task", REGRESSION)
def test_curriculum_is_full_at_step_30_000_and_not_a_step_before(task: Task) -> None:
    curriculum = task.curriculum
    assert curriculum is not None
    start = 11 if task.n_points == 41 else 26
    assert (curriculum.dims.at(0, 20), task.points_at(0)) == (5, start)
    assert (curriculum.dims.at(1999, 20), task.points_at(1999)) == (5, start)
    assert (curriculum.dims.at(2000, 20), task.points_at(2000)) == (6, start + (2 if start == 11 else 5))
    assert curriculum.dims.at(29_999, 20) == 19
    assert task.points_at(29_999) < task.n_points
    assert (curriculum.dims.at(30_000, 20), task.points_at(30_000)) == (20, task.n_points)
    assert (curriculum.dims.at(500_000, 20), task.points_at(500_000)) == (20, task.n_points)


def test_sparse_linear_with_41_points_grows_as_in_the_released_configuration() -> None:
    task = SparseLinearRegression(n_points=41)
    assert (task.points_at(0), task.points_at(2000), task.points_at(30_000)) == (11, 13, 41)


def test_parity_has_no_curriculum() -> None:
    assert SparseParity().curriculum is None
    assert SparseParity().points_at(0) == 140


@given(
    start=st.integers(1, 50),
    increment=st.integers(1, 9),
    every=st.integers(1, 5000),
    step=st.integers(0, 10**6),
    end=st.integers(1, 600),
)
def test_ramps_agree_on_host_and_device(start: int, increment: int, every: int, step: int, end: int) -> None:
    ramp = Ramp(start=start, increment=increment, every=every)
    assert int(ramp.on_device(torch.tensor(step), end)) == ramp.at(step, end) <= end


@pytest.mark.parametrize("task", REGRESSION)
@pytest.mark.parametrize("step", [0, 4000, 29_999, 30_000])
def test_curriculum_zeroes_the_coordinates_not_yet_shown(task: Task, step: int) -> None:
    assert task.curriculum is not None
    shown = task.curriculum.dims.at(step, task.n_dims)
    inputs = task.batch(draws(step, "train"), 8).inputs
    assert bool((inputs[..., :shown] != 0).all())
    assert not inputs[..., shown:].any()


@settings(max_examples=30)
@given(
    step=st.integers(0, 40_000), name=st.sampled_from(["linear_regression", "decision_tree"]), data=st.data()
)
def test_loss_is_the_mean_over_the_points_shown_and_depends_on_no_other(
    step: int, name: str, data: st.DataObject
) -> None:
    task = TASKS[name]()
    shown = task.points_at(step)
    prompts = task.batch(draws(step, "train"), 3)
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    outputs = torch.randn(3, 2 * task.n_points, 1, generator=generator).requires_grad_()
    loss = training_loss(task, outputs, prompts, torch.tensor(step))
    expected = task.losses(outputs, prompts)[:, :shown].mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, outputs)
    assert not gradient[:, 2 * shown :].any()
    assert bool((gradient[:, 0 : 2 * shown : 2] != 0).all())


def test_a_curriculum_without_dims_has_all_coordinates_from_the_start() -> None:
    task = LinearRegression.model_validate({"curriculum": {"points": {"start": 11, "increment": 2}}})
    assert (task.points_at(0), task.points_at(2000)) == (11, 13)
    prompts = task.batch(draws(0, "train"), 4)
    assert torch.equal(prompts.tokens, LinearRegression(curriculum=None).batch(draws(0, "train"), 4).tokens)
    assert task.loss_weights(prompts, torch.tensor(0)).sum(dim=1).tolist() == [11.0] * 4


def test_loss_stays_finite_when_a_hidden_point_overflows() -> None:
    task = LinearRegression()
    prompts = task.batch(draws(0, "train"), 2)
    outputs = torch.zeros(2, 82, 1)
    outputs[:, 60:] = math.inf
    assert math.isfinite(float(training_loss(task, outputs, prompts, torch.tensor(0))))


def test_without_curriculum_the_loss_is_the_plain_mean_from_the_start() -> None:
    task = LinearRegression(curriculum=None)
    prompts = task.batch(draws(0, "train"), 4)
    assert bool((prompts.inputs != 0).all())
    outputs = torch.zeros(4, 82, 1)
    expected = float((prompts.targets**2).mean())
    assert float(training_loss(task, outputs, prompts, torch.tensor(0))) == pytest.approx(expected, rel=1e-6)


# What is computed.


@pytest.mark.slow
@pytest.mark.parametrize(
    "task", [*REGRESSION, TwoLayerNetwork(scaled=False), SparseLinearRegression(n_dims=8, sparsity=8)]
)
def test_variance_of_y_is_the_error_scale(task: Task) -> None:
    per_prompt = (task.sample(draws(), 2000).targets.to(torch.float64) ** 2).mean(dim=1)
    error = float(per_prompt.std()) / 2000**0.5
    assert abs(float(per_prompt.mean()) - task.error_scale) < 4 * error
    assert error < 0.05 * task.error_scale
    assert task.trivial == task.error_scale


def test_linear_targets_are_one_inner_product_a_prompt() -> None:
    prompts = LinearRegression().sample(draws(), 50)
    inputs, targets = prompts.inputs.double(), prompts.targets.double()
    weights = torch.linalg.lstsq(inputs, targets.unsqueeze(-1)).solution
    assert torch.allclose((inputs @ weights).squeeze(-1), targets, atol=1e-5)
    assert abs(float(weights.var()) - 1) < 4 * (2 / 1000) ** 0.5


@pytest.mark.parametrize("n_dims", [5, 12, 20])
def test_sparse_weights_have_their_support_among_the_coordinates_shown(n_dims: int) -> None:
    task = SparseLinearRegression()
    prompts = task.sample(draws(), 400, n_dims)
    inputs, targets = prompts.inputs[..., :n_dims].double(), prompts.targets.double()
    weights = torch.linalg.lstsq(inputs, targets.unsqueeze(-1)).solution.squeeze(-1)
    assert torch.allclose((inputs @ weights.unsqueeze(-1)).squeeze(-1), targets, atol=1e-5)
    chosen = weights.abs() > 1e-4
    assert float(chosen.sum(dim=1).double().mean()) == pytest.approx(3, abs=0.01)
    shares = chosen.double().mean(dim=0)  # every coordinate is in the support with probability 3/n
    probability = 3 / n_dims
    assert float((shares - probability).abs().max()) < 4.5 * (probability * (1 - probability) / 400) ** 0.5


def test_two_layer_network_is_the_papers_formula() -> None:
    task = TwoLayerNetwork(hidden=4)
    prompts = task.sample(draws(), 3)
    first, second = draws().normal("w1", 3, 20, 4), draws().normal("w2", 3, 4, 1)
    for prompt in range(3):
        for point in (0, 57, 100):
            x = prompts.inputs[prompt, point].tolist()
            hidden = [max(0.0, sum(x[j] * float(first[prompt, j, k]) for j in range(20))) for k in range(4)]
            y = math.sqrt(2 / 4) * sum(hidden[k] * float(second[prompt, k, 0]) for k in range(4))
            assert float(prompts.targets[prompt, point]) == pytest.approx(y, rel=1e-5, abs=1e-6)


def test_unscaled_network_is_the_scaled_one_times_a_constant() -> None:
    scaled, plain = TwoLayerNetwork().sample(draws(), 4), TwoLayerNetwork(scaled=False).sample(draws(), 4)
    assert torch.allclose(plain.targets, scaled.targets * math.sqrt(50), rtol=1e-6)


def walk(x: list[float], coordinates: list[int], leaves: list[float], node: int = 0) -> float:
    """The tree of `DecisionTree`, once more and recursively."""
    if node >= len(coordinates):
        return leaves[node - len(coordinates)]
    return walk(x, coordinates, leaves, 2 * node + (2 if x[coordinates[node]] > 0 else 1))


@pytest.mark.parametrize(("depth", "n_dims"), [(1, 2), (2, 3), (4, 20), (6, 5)])
def test_trees_evaluate_as_a_recursive_walk_does(depth: int, n_dims: int) -> None:
    task = DecisionTree(depth=depth, n_dims=n_dims, n_points=30)
    prompts = task.sample(draws(), 10)
    nodes, leaves = task.tree(draws(), 10)
    assert nodes.shape == (10, 2**depth - 1)
    assert leaves.shape == (10, 2**depth)
    for prompt, point in itertools.product(range(10), range(30)):
        x = prompts.inputs[prompt, point].tolist()
        expected = walk(x, nodes[prompt].tolist(), leaves[prompt].tolist())
        assert float(prompts.targets[prompt, point]) == expected


def test_hidden_coordinates_send_a_tree_to_the_left() -> None:
    task = DecisionTree()
    prompts = task.sample(draws(), 10, 5)
    nodes, leaves = task.tree(draws(), 10)
    assert int((nodes >= 5).sum()) > 50  # trees look at all 20 coordinates also while 5 are shown
    for prompt in range(10):
        x = prompts.inputs[prompt, 0].tolist()
        expected = walk(x, nodes[prompt].tolist(), leaves[prompt].tolist())
        assert float(prompts.targets[prompt, 0]) == expected


def test_nodes_look_at_uniform_coordinates_with_repetition() -> None:
    nodes, _ = DecisionTree().tree(draws(), 4000)
    counts = torch.bincount(nodes.flatten(), minlength=20).double()
    expected = nodes.numel() / 20
    assert float(((counts - expected) ** 2 / expected).sum()) < 50.8  # chi-square(19), 1 in 10⁴
    repeated = sum(len(set(row)) < len(row) for row in nodes.tolist()) / 4000
    distinct = math.perm(20, 15) / 20**15
    assert abs(repeated - (1 - distinct)) < 4 * (distinct / 4000) ** 0.5


def reachable(coordinates: list[int], node: int = 0, seen: tuple[int, ...] = ()) -> int:
    """Leaves that some x reaches: below a node that repeats an ancestor's coordinate only one side is."""
    if node >= len(coordinates):
        return 1
    coordinate = coordinates[node]
    if coordinate in seen:  # the answer is known: either side, whose counts have the same distribution
        return reachable(coordinates, 2 * node + 1, seen)
    below = (*seen, coordinate)
    return reachable(coordinates, 2 * node + 1, below) + reachable(coordinates, 2 * node + 2, below)


def test_13_75_of_16_leaves_can_be_reached_on_average() -> None:
    nodes, _ = DecisionTree().tree(draws(), 4000)
    counts = torch.tensor([reachable(row) for row in nodes.tolist()]).double()

    def leaves_below(depth: int, known: int) -> float:
        if depth == 4:
            return 1.0
        repeats = known / 20
        fresh = 2 * leaves_below(depth + 1, known + 1)
        return repeats * leaves_below(depth + 1, known) + (1 - repeats) * fresh

    expected = leaves_below(0, 0)
    assert expected == pytest.approx(13.75, abs=0.01)
    assert abs(float(counts.mean()) - expected) < 4 * float(counts.std()) / 4000**0.5


# Parity.


def consistent(prompts: Prompts, prompt: int, size: int) -> list[tuple[int, ...]]:
    x, y = prompts.inputs[prompt].tolist(), prompts.targets[prompt].tolist()
    return [
        subset
        for subset in itertools.combinations(range(len(x[0])), size)
        if all(math.prod(row[j] for j in subset) == label for row, label in zip(x, y, strict=True))
    ]


@pytest.mark.parametrize(("n_dims", "sparsity"), [(10, 2), (6, 3), (4, 1), (3, 3)])
def test_labels_are_the_parity_of_exactly_one_subset(n_dims: int, sparsity: int) -> None:
    prompts = SparseParity(n_dims=n_dims, sparsity=sparsity).sample(draws(), 12)
    assert set(prompts.tokens[:, 0::2].unique().tolist()) == {-1.0, 1.0}
    for prompt in range(12):
        assert len(consistent(prompts, prompt, sparsity)) == 1


@pytest.mark.slow
def test_subsets_are_drawn_per_prompt_or_once_for_the_batch() -> None:
    def subsets(task: SparseParity, step: int = 0) -> set[tuple[int, ...]]:
        prompts = task.sample(draws(step), 64)
        return {consistent(prompts, prompt, 2)[0] for prompt in range(64)}

    assert len(subsets(SparseParity())) > 25  # of 45, 64 draws show about 34
    shared = SparseParity(subset="per_batch")
    assert all(len(subsets(shared, step)) == 1 for step in range(5))
    assert len(set().union(*(subsets(shared, step) for step in range(20)))) > 10


@pytest.mark.parametrize(("count", "sets"), [(64, 1), (65, 2), (200, 4)])
def test_evaluation_of_shared_subsets_draws_one_for_every_64_prompts(count: int, sets: int) -> None:
    task = SparseParity(n_points=40, subset="per_batch")
    prompts = task.sample_evaluation(draws(), count)
    subsets = [consistent(prompts, prompt, 2) for prompt in range(count)]
    groups = [{tuple(subset) for subset in subsets[first : first + 64]} for first in range(0, count, 64)]
    assert len(groups) == sets
    assert all(len(group) == 1 for group in groups)
    assert len(set().union(*groups)) == sets  # these draws are all different
    assert torch.equal(prompts.inputs, task.sample(draws(), count).inputs)
    assert torch.equal(prompts.tokens[:64], task.sample(draws(), 64).tokens)


def test_only_shared_subsets_have_another_version() -> None:
    """Their evaluation changed. Results with a subset for each prompt keep their ids."""
    assert SparseParity().identity()["version"] == SparseParity.version == 1
    assert SparseParity(subset="per_batch").identity()["version"] == 2


def parity_outputs(logit: float) -> torch.Tensor:
    return torch.full((1, 280, 1), logit).requires_grad_()


def test_sigmoid_cross_entropy_loses_its_gradient_on_confident_mistakes() -> None:
    prompts = SparseParity().sample(draws(), 1)
    outputs = parity_outputs(20.0)
    wrong = prompts.targets[0] < 0
    assert bool(wrong.any())

    def at_wrong(cross_entropy: str) -> tuple[torch.Tensor, torch.Tensor]:
        losses = SparseParity(cross_entropy=cross_entropy).losses(outputs, prompts)
        (gradient,) = torch.autograd.grad(losses.sum(), outputs)
        return losses[0, wrong], gradient[0, 0::2, 0][wrong]

    losses, gradient = at_wrong("sigmoid")
    assert bool((losses == 100).all())
    assert not gradient.any()
    losses, gradient = at_wrong("logits")
    assert torch.allclose(losses, torch.full_like(losses, 20.0))
    assert torch.allclose(gradient, torch.ones_like(gradient))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", TASKS)
def test_a_loss_of_a_prediction_that_is_nan_is_nan(name: str, protocol: str) -> None:
    """It must not raise: the run has diverged, it has not failed."""
    cls = TASKS[name]
    chosen = {field: choices[protocol] for field, choices in cls.protocol_fields.items()}
    task = cls(**{**cls.example().model_dump(exclude={"name"}), **chosen})
    prompts = task.sample(draws(), 2)
    outputs = torch.full((2, prompts.tokens.shape[1], task.n_outputs), torch.nan).requires_grad_()
    losses = task.losses(outputs, prompts)
    counted = task.loss_weights(prompts, torch.tensor(10**9)) > 0
    assert bool(counted.any())
    assert bool(losses[counted].isnan().all())
    (gradient,) = torch.autograd.grad(losses[counted].sum(), outputs)
    assert bool(gradient.isnan().any())


def test_the_guard_against_nan_changes_no_other_loss_or_gradient() -> None:
    prompts = SparseParity().sample(draws(), 2)
    outputs = torch.randn(2, 280, 1, generator=torch.Generator().manual_seed(0)) * 30
    outputs.requires_grad_()
    losses = SparseParity(cross_entropy="sigmoid").losses(outputs, prompts)
    logits, labels = outputs[:, 0::2, 0], (prompts.targets + 1) / 2
    plain = torch.nn.functional.binary_cross_entropy(torch.sigmoid(logits), labels, reduction="none")
    assert torch.equal(losses, plain)
    first, second = (torch.autograd.grad(values.sum(), outputs)[0] for values in (losses, plain))
    assert torch.equal(first, second)


@given(logit=st.floats(-8, 8))
@settings(max_examples=30)
def test_both_cross_entropies_agree_where_nothing_saturates(logit: float) -> None:
    prompts = SparseParity().sample(draws(), 1)
    one, other = (
        SparseParity(cross_entropy=kind).losses(parity_outputs(logit), prompts)
        for kind in ("logits", "sigmoid")
    )
    assert torch.allclose(one, other, rtol=1e-3, atol=1e-5)
    label = (prompts.targets[0] > 0).double()
    expected = torch.log1p(torch.exp(torch.tensor(logit).double())) - label * logit
    assert torch.allclose(one[0].double(), expected, rtol=1e-4, atol=1e-5)


def test_accuracy_counts_signs_and_no_answer_as_wrong() -> None:
    task = SparseParity()
    prompts = task.sample(draws(), 2)
    outputs = torch.zeros(2, 280, 1)
    assert not task.scores(outputs, prompts).any()
    outputs[:, 0::2, 0] = 1e-6 * prompts.targets
    outputs[0, 0::2, 0] *= -1
    assert task.scores(outputs, prompts).mean(dim=1).tolist() == [0.0, 1.0]
    assert (task.trivial, task.error_scale) == (0.5, 1.0)


def test_targets_do_not_depend_on_the_precision_of_matrix_products() -> None:
    """Functions are evaluated in float64: the reduced precision runs may ask for never touches the data."""
    task = TwoLayerNetwork()
    exact = task.sample(draws(), 4)
    first, second = (draws().normal(name, *shape).double() for name, shape in
                     (("w1", (4, 20, 100)), ("w2", (4, 100, 1))))  # fmt: skip
    values = torch.einsum("bnd,bdh->bnh", exact.inputs.double(), first).relu() @ second * math.sqrt(0.02)
    assert torch.equal(exact.targets, values.squeeze(-1).float())
