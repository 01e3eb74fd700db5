"""A new optimizer is one class and one entry in the table: everything else reads the table."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import jsonschema
import pytest
import torch
from pydantic import Field, ValidationError
from small_runs import small_run

from bench import results
from bench.check.schema import json_schema as claims_schema
from bench.errors import InvalidFile
from bench.frozen import identity
from bench.kernels.adam import Buffers
from bench.optimizers import OPTIMIZERS, Adam, AdamW, Optimizer
from bench.plan.planned import plan, select
from bench.plan.time import Speeds
from bench.results.export import load_results, write
from bench.run import Run
from bench.suite import Suite, json_schema, load
from bench.train.loop import TrainingOptions, train

if TYPE_CHECKING:
    from torch import Tensor

    from bench.kernels.adam.clipped import ParameterRows

CPU = torch.device("cpu")


class SGD(Optimizer):
    """Gradient descent with momentum, as `torch.optim.SGD`."""

    title = "SGD"

    name: Literal["sgd"] = "sgd"
    momentum: float = Field(default=0.0, ge=0, lt=1)

    def move(self, parameters: Iterable[ParameterRows], rates: Tensor, step: Tensor) -> None:
        for value, momentum, _, gradient, _ in parameters:
            momentum.mul_(self.momentum).add_(gradient)
            value.sub_(rates * momentum)


@pytest.fixture(autouse=True)
def sgd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPTIMIZERS, "sgd", SGD)


def suite_of(folder: Path, optimizer: str) -> Suite:
    path = folder / "x.yaml"
    path.write_text(
        f"name: x\nexperiments:\n  one:\n    optimizer: {optimizer}\n"
        "    tasks: {name: linear_regression, n_dims: 3, n_points: 5}\n    architectures: transformer\n"
        "    sizes: {layers: 1, width: 16, heads: 2}\n    learning_rates: 0.01\n"
        "    steps: 20\n    batch_size: 8\n    evaluation_prompts: 16\n"
    )
    return load(path)


def test_a_new_optimizer_is_planned_trained_stored_filtered_and_exported(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, "[adam, sgd, {name: sgd, momentum: 0.5}]")
    pool = results.load(tmp_path)
    chosen = select(plan(suite, tmp_path, pool, Speeds(pool)), "optimizer=sgd")
    assert [planned.run.optimizer for planned in chosen] == [SGD(), SGD(momentum=0.5)]
    losses = []
    for planned in chosen:
        result = train(planned.run, tmp_path / planned.run.id, TrainingOptions(CPU))
        losses.append(result["curve"]["loss"])
        results.store(results.path_of(tmp_path, planned.run), result)
    assert losses[0] != losses[1]
    frame = load_results(tmp_path)
    assert frame["optimizer"].tolist() == ["sgd", "sgd"]
    write(frame, tmp_path / "all.csv")
    assert (tmp_path / "all.csv").read_text().count(",sgd,") == 2


def test_its_options_are_checked_in_suites_and_described_in_schemas(tmp_path: Path) -> None:
    for optimizer, complaint in {
        "sdg": "4:16: unknown optimizer 'sdg', did you mean 'sgd'?",
        "{name: sgd, momentum: 1}": "4:38: momentum: must be less than 1, got 1",
        "{name: sgd, beta1: 0.5}": "4:28: unknown key 'beta1'",
    }.items():
        with pytest.raises(InvalidFile, match=r"x\.yaml") as raised:
            suite_of(tmp_path, optimizer)
        assert complaint in str(raised.value)
    schema = json_schema()
    assert schema["$defs"]["SGD"]["properties"]["momentum"]["exclusiveMaximum"] == 1
    entry: dict[str, Any] = {"optimizer": {"name": "sgd", "momentum": 0.5}}
    jsonschema.validate(entry, {"$ref": "#/$defs/Settings", "$defs": schema["$defs"]})
    assert "sgd" in str(claims_schema()["$defs"]["Quantity"]["properties"]["optimizer"])


def test_an_update_without_a_kernel_is_pytorchs_for_each_member() -> None:
    generator = torch.Generator().manual_seed(0)
    values, gradients = (torch.randn(2, 3, generator=generator) for _ in range(2))
    rates, clips = torch.tensor([0.1, 0.2]), torch.tensor([1e9, 0.5])
    sums = [torch.zeros(2), torch.zeros(2), torch.full((2,), -1)]
    step = torch.tensor(0)
    flat = values.flatten().clone()
    buffers = Buffers([0], [3], [True], flat, torch.zeros(6), torch.zeros(6), step, rates, clips, *sums)
    update = SGD(momentum=0.9).update("reference", buffers)
    for _ in range(3):
        update([gradients], torch.ones(2))
    for member in range(2):
        parameter = torch.nn.Parameter(values[member].clone())
        peer = torch.optim.SGD([parameter], lr=float(rates[member]), momentum=0.9)
        for _ in range(3):
            parameter.grad = gradients[member].clone()
            torch.nn.utils.clip_grad_norm_([parameter], float(clips[member]))
            peer.step()
        torch.testing.assert_close(flat.view(2, 3)[member], parameter.detach())
    assert (int(step), sums[0].tolist()) == (3, [3, 3])


def values_after_three_steps(optimizer: Optimizer, values: Tensor, gradients: Tensor) -> Tensor:
    """Parameters (K, n) of K members after three updates with gradients (3, K, n)."""
    members, count = values.shape
    flat, sums = values.flatten().clone(), [torch.zeros(members), torch.zeros(members)]
    moments = torch.zeros_like(flat), torch.zeros_like(flat)
    rates, clips = torch.full((members,), 0.1), torch.full((members,), 0.5)
    first_bad_step = torch.full((members,), -1)
    buffers = Buffers(
        [0], [count], [True], flat, *moments, torch.tensor(0), rates, clips, *sums, first_bad_step
    )
    update = optimizer.update("reference", buffers)
    for gradient in gradients:
        update([gradient], torch.ones(members))
    return flat.view(members, count)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_moves_the_members_of_a_stack_as_each_alone(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(3, 5, generator=generator)
    gradients = torch.randn(3, 3, 5, generator=generator)
    optimizer = OPTIMIZERS[name].model_validate({"name": name})
    assert optimizer.title  # figures show it
    together = values_after_three_steps(optimizer, values, gradients)
    for k in range(3):
        alone = values_after_three_steps(optimizer, values[k : k + 1], gradients[:, k : k + 1])
        torch.testing.assert_close(together[k : k + 1], alone)
    assert (together != values).all()


@pytest.mark.parametrize(
    ("optimizer", "peer"),
    [
        (Adam(beta1=0.7, beta2=0.95, epsilon=0.01), torch.optim.Adam),
        (AdamW(beta1=0.7, beta2=0.95, epsilon=0.01, weight_decay=0.5), torch.optim.AdamW),
    ],
    ids=["adam", "adamw"],
)
def test_every_option_of_adam_is_pytorchs_of_that_name(optimizer: Adam | AdamW, peer: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    value, *gradients = (torch.randn(3, generator=generator) for _ in range(5))
    meters = [torch.zeros(1, dtype=torch.float64), torch.zeros(1), torch.full((1,), -1)]
    rates, clips, flat = torch.tensor([0.1]), torch.tensor([1e9]), value.clone()
    moments = torch.zeros(3), torch.zeros(3)
    buffers = Buffers([0], [3], [True], flat, *moments, torch.tensor(0), rates, clips, *meters)
    update = optimizer.update("reference", buffers)
    parameter = torch.nn.Parameter(value.clone())
    decay = {"weight_decay": optimizer.weight_decay} if isinstance(optimizer, AdamW) else {}
    betas = (optimizer.beta1, optimizer.beta2)
    theirs = peer([parameter], lr=0.1, betas=betas, eps=optimizer.epsilon, foreach=False, **decay)
    for gradient in gradients:
        update([gradient.view(1, 3)], torch.ones(1, dtype=torch.float64))
        parameter.grad = gradient.clone()
        theirs.step()
    torch.testing.assert_close(flat, parameter.detach())


def test_linear_decay_falls_along_a_line_and_cosine_keeps_its_id() -> None:
    linear = AdamW(warmup_steps=10, start=0, end=0.2, decay="linear")
    factors = [float(linear.rate_factor(torch.tensor(step), 110)) for step in (0, 5, 10, 60, 110)]
    assert factors == pytest.approx([0, 0.5, 1, 0.6, 0.2])
    assert "decay" not in identity(AdamW())
    assert identity(linear)["decay"] == "linear"


def test_a_plateau_is_a_rise_and_then_the_full_rate() -> None:
    plateau = AdamW(warmup_steps=4, start=0.5, end=0.25, decay="plateau")
    factors = [float(plateau.rate_factor(torch.tensor(step), 8)) for step in (0, 2, 4, 8)]
    assert factors == [0.5, 0.75, 1, 1]
    assert (plateau.plateau_factor, AdamW().plateau_factor, Adam().plateau_factor) == (0.25, None, None)


def test_a_cosine_falls_by_half_of_the_way_at_half_of_the_time_and_stays_at_its_end() -> None:
    cosine = AdamW(warmup_steps=10, start=0.3, end=0.2)
    steps = (0, 10, 60, 10 + 100 / 3, 110, 500)
    factors = [float(cosine.rate_factor(torch.tensor(step), 110)) for step in steps]
    assert factors == pytest.approx([0.3, 1, 0.6, 0.2 + 0.8 * 0.75, 0.2, 0.2])  # cos 60° = 1/2
    at_once = AdamW(warmup_steps=0, start=0.3, end=0.2)
    assert float(at_once.rate_factor(torch.tensor(0), 100)) == 1


def test_a_warm_up_has_to_end_before_the_run() -> None:
    assert AdamW(warmup_steps=99).fault(100) is None
    assert "is not over when the run ends" in (AdamW(warmup_steps=100).fault(100) or "")
    assert Adam().fault(1) is None


EDGES: dict[str, tuple[float, float]] = {
    "beta1": (0, 1), "beta2": (0, 1), "epsilon": (1e-30, 0), "weight_decay": (0, -1e-9),
    "warmup_steps": (0, -1), "start": (1, 1.001), "end": (0, -0.001),
}  # fmt: skip
"""Options of AdamW: the last value that it takes, and one beyond."""


@pytest.mark.parametrize("option", EDGES)
def test_options_of_adam_have_bounds(option: str) -> None:
    within, beyond = EDGES[option]
    for optimizer in (Adam, AdamW):
        if option in optimizer.model_fields:
            assert getattr(optimizer.model_validate({option: within}), option) == within
            with pytest.raises(ValidationError, match=option):
                optimizer.model_validate({option: beyond})


def test_a_run_reads_an_optimizer_from_the_table_that_its_result_records() -> None:
    optimizer = AdamW(warmup_steps=5, weight_decay=0.1)
    run = small_run(optimizer=optimizer)
    recorded = {**{name: getattr(run, name) for name in Run.model_fields}, "optimizer": identity(optimizer)}
    assert Run.model_validate(recorded) == run
    with pytest.raises(ValidationError, match="unknown optimizer 'adamv', did you mean 'adam"):
        Run.model_validate({**recorded, "optimizer": {"name": "adamv"}})
