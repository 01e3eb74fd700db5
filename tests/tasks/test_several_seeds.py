"""The prompts of several seeds are drawn in one pass, and each seed gets those that it has alone."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, get_args, get_origin

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.tasks import TASKS, Task
from bench.tasks.curriculum import Curriculum, Ramp
from bench.tasks.draws import Draws
from bench.tasks.languages import regbench
from bench.tasks.regression import LinearRegression
from bench.tasks.task import Prompts

GROWING = Curriculum(dims=Ramp(start=3, increment=1), points=Ramp(start=9, increment=1))
NUMBERS: dict[str, list[dict[str, Any]]] = {
    "linear_regression": [{"n_dims": 3, "n_points": 5, "curriculum": None}],
    "sparse_parity": [{"curriculum": GROWING}],
    "vector_mqar": [{"training_prompts": 30}, {"training_prompts": 300_000, "layout": "spaced"}],
    "word_problem": [{"n_points": 64, "curriculum": Curriculum(points=GROWING.points)}],
    "token_mqar": [{"updates": 8}],
    "markov_chain": [{"states": 2}],
    "finite_regression": [{"functions": 16}],
    "ginc": [{"symbols": 50, "block": 64, "documents": 3}],
    "regbench": [{"languages": 40}],
}  # fmt: skip
"""Settings that are numbers and change how a task draws. Those with a few values in words are all tried."""


def variants() -> list[Any]:
    """Every task: its defaults, the released code, each value of a setting, and `NUMBERS`."""
    params = []
    for name, cls in TASKS.items():
        released = {field: values["released_code"] for field, values in cls.protocol_fields.items()}
        fields = [{}, *([released] if len(released) > 1 else []), *NUMBERS.get(name, [])]
        if name == "ginc":  # whose documents take seconds to make
            fields.remove({})
        for field, info in cls.model_fields.items():
            if get_origin(info.annotation) is Literal and field != "name" and name != "ginc":
                fields += [{field: value} for value in get_args(info.annotation) if value != info.default]
        for values in fields:
            task = cls.model_validate({**cls.example_fields, **values})
            label = "-".join(f"{key}={value}" for key, value in values.items() if key != "curriculum")
            params.append(pytest.param(task, id=f"{name}-{label or len(params)}"))
    return params


VARIANTS = variants()
JOINING = [param for param in VARIANTS if param.values[0].joins_seeds]


def tensors(prompts: Prompts) -> dict[str, Tensor]:
    named = {name: getattr(prompts, name) for name in ("tokens", "targets", "inputs", "counted")}
    return {name: value for name, value in (named | dict(prompts.more)).items() if value is not None}


def check(task: Task, seeds: list[int], step: int, batch: int) -> None:
    at = torch.tensor(step)
    together = task.batch(Draws(tuple(seeds), "train", at, batch=batch), len(seeds) * batch)
    alone = [tensors(task.batch(Draws(seed, "train", at), batch)) for seed in seeds]
    for name, value in tensors(together).items():
        assert torch.equal(value, torch.cat([prompts[name] for prompts in alone])), name


def test_only_prompts_that_share_a_hidden_subset_are_drawn_seed_by_seed() -> None:
    alone = [param.values[0] for param in VARIANTS if not param.values[0].joins_seeds]
    assert {(task.name, task.subset) for task in alone} == {("sparse_parity", "per_batch")}


@pytest.mark.parametrize("task", JOINING)
@settings(max_examples=4)
@given(
    seeds=st.lists(st.integers(0, 2**40), min_size=2, max_size=4, unique=True),
    step=st.integers(0, 10**6),
    batch=st.integers(1, 6),
)
def test_each_seed_gets_the_prompts_that_it_has_alone(
    task: Task, seeds: list[int], step: int, batch: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regbench, "MOST_STORED", 0)  # the texts of all training languages of a seed take long
        check(task, seeds, step, batch)


def test_stored_texts_are_those_of_each_seed() -> None:
    check(TASKS["regbench"](languages=40), [3, 1, 2], 21, 7)


def test_draws_that_belong_to_no_seed_are_refused() -> None:
    draws = Draws((0, 1), "train", torch.tensor(0), batch=4)
    for draw in (
        lambda: draws.normal("a", 1, 3),
        lambda: draws.uniform("a", 4, 2),
        lambda: draws.integers("a", 3, 16, 2),
        lambda: draws.signs("a", 2, 4),
        lambda: draws.subsets("a", 2, 2, 5, 5),
    ):
        with pytest.raises(ValueError, match="seed"):
            draw()
    with pytest.raises(ValueError, match="rows"):
        TASKS["sparse_parity"](subset="per_batch").batch(draws, 8)
    numbered = Draws(0, "train", torch.tensor(0), torch.tensor([5, 9]))
    with pytest.raises(ValueError, match="2 rows"):
        numbered.normal("a", 4, 1)


class Inherited(LinearRegression):
    """A task of a user who states nothing."""

    name: Literal["inherited"] = "inherited"  # type: ignore[assignment]


class Stated(LinearRegression):
    """A task of a user who states that prompts are independent."""

    name: Literal["stated"] = "stated"  # type: ignore[assignment]
    independent_prompts: ClassVar[bool] = True


def test_a_subclass_is_drawn_seed_by_seed_unless_it_says_otherwise() -> None:
    assert LinearRegression().joins_seeds
    assert not Inherited().joins_seeds
    assert Stated().joins_seeds
