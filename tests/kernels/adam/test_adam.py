"""Clip and Adam: PyTorch's own, member by member; and the fused kernels are their reference."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.kernels.adam import AdamSettings, Buffers, update
from bench.train.meters import Meters
from bench.train.parameters import Parameters

GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if GPU else "cpu")
FUSED = pytest.param(
    "triton", marks=pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs triton")
)


def models(members: int, widths: tuple[int, int] = (3, 5)) -> list[nn.Module]:
    made = []
    for seed in range(members):
        torch.manual_seed(seed)
        made.append(nn.Sequential(nn.Linear(*widths), nn.Linear(widths[1], 1, bias=False)).to(DEVICE))
    return made


def buffers_of(parameters: Parameters, rates: list[float], clips: list[float]) -> Buffers:
    members = len(rates)
    return Buffers(
        offsets=parameters.offsets,
        counts=parameters.counts,
        decays=parameters.decays,
        values=parameters.values,
        first_moment=parameters.first_moment,
        second_moment=parameters.second_moment,
        step=torch.zeros((), dtype=torch.int64, device=DEVICE),
        rates=torch.tensor(rates, device=DEVICE),
        clips=torch.tensor(clips, device=DEVICE),
        **vars(Meters.new(members, DEVICE)),
    )


def gradients(parameters: Parameters, seed: int, scale: float = 1.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    views = parameters.views(parameters.values)
    return [(scale * torch.randn(view.shape, generator=generator)).to(DEVICE) for view in views]


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("name", ["reference", FUSED])
def test_every_member_is_updated_as_pytorch_updates_it_alone(name: str, decay: float) -> None:
    rates, clips = [1e-2, 3e-3], [0.5, 1e9]
    parameters = Parameters.of(models(2), DEVICE)
    apply = update(name)(buffers_of(parameters, rates, clips), AdamSettings(0.9, 0.95, 1e-8, decay))
    alone = models(2)
    kind = torch.optim.AdamW if decay else torch.optim.Adam
    optimizers = [
        kind(model.parameters(), rate, (0.9, 0.95), weight_decay=decay)
        for model, rate in zip(alone, rates, strict=True)
    ]
    for step in range(4):
        stacked = gradients(parameters, step)
        apply(stacked, torch.ones(2, device=DEVICE))
        for k, (model, optimizer) in enumerate(zip(alone, optimizers, strict=True)):
            for parameter, gradient in zip(model.parameters(), stacked, strict=True):
                parameter.grad = gradient[k].clone()
            nn.utils.clip_grad_norm_(model.parameters(), clips[k])
            optimizer.step()
    for k, model in enumerate(alone):
        for parameter, value in zip(model.parameters(), parameters.of_member(k).values(), strict=True):
            torch.testing.assert_close(value, parameter.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["reference", FUSED])
def test_parameters_that_a_module_exempts_do_not_decay(name: str) -> None:
    def exempting() -> list[nn.Module]:
        made = models(2)
        for model in made:
            model[0].undecayed = ("bias",)
        return made

    parameters = Parameters.of(exempting(), DEVICE)
    assert dict(zip(parameters.names, parameters.decays, strict=True)) == {
        "0.weight": True,
        "0.bias": False,
        "1.weight": True,
    }
    starts = [value.clone() for value in parameters.views(parameters.values)]
    apply = update(name)(buffers_of(parameters, [1e-2, 1e-1], [1.0, 1.0]), AdamSettings(0.9, 0.95, 1e-8, 0.5))
    apply([torch.zeros_like(value) for value in starts], torch.ones(2, device=DEVICE))
    shrink = torch.tensor([1 - 1e-2 * 0.5, 1 - 1e-1 * 0.5], device=DEVICE)
    for start, value, decays in zip(
        starts, parameters.views(parameters.values), parameters.decays, strict=True
    ):
        factors = shrink.view(2, *[1] * (start.dim() - 1)) if decays else 1.0
        torch.testing.assert_close(value, factors * start)


@pytest.mark.parametrize("name", ["reference", FUSED])
def test_meters_hold_losses_largest_norms_and_the_first_bad_step_of_each_member(name: str) -> None:
    parameters = Parameters.of(models(3), DEVICE)
    buffers = buffers_of(parameters, [1e-3] * 3, [1.0] * 3)
    apply = update(name)(buffers, AdamSettings(0.9, 0.999, 1e-8))
    infinite = float("inf")
    losses = [[1.0, 2.0, 3.0], [1.5, float("nan"), 2.0], [0.5, 1.0, infinite]]
    for step, values in enumerate(losses):
        apply(gradients(parameters, step, 3.0 - step), torch.tensor(values, device=DEVICE))
    assert buffers.step.item() == 3
    assert buffers.first_bad_step.tolist() == [-1, 1, 2]
    assert buffers.loss_sum.tolist()[0] == pytest.approx(3.0)
    first = gradients(parameters, 0, 3.0)
    norms = torch.stack([g.reshape(3, -1).norm(dim=1) for g in first]).norm(dim=0)
    torch.testing.assert_close(buffers.gradient_norm_max, norms)


@pytest.mark.parametrize("name", ["reference", FUSED])
def test_a_member_with_broken_gradients_leaves_the_others_alone(name: str) -> None:
    ends = []
    for broken in (False, True):
        parameters = Parameters.of(models(3), DEVICE)
        buffers = buffers_of(parameters, [1e-3] * 3, [1.0] * 3)
        apply = update(name)(buffers, AdamSettings(0.9, 0.999, 1e-8))
        for step in range(3):
            stacked = gradients(parameters, step)
            if broken:
                stacked[0][1] = float("nan")
            apply(stacked, torch.ones(3, device=DEVICE))
        ends.append(parameters)
    for k in (0, 2):
        for value, other in zip(ends[0].of_member(k).values(), ends[1].of_member(k).values(), strict=True):
            assert torch.equal(value, other)
    assert not torch.isfinite(ends[1].of_member(1)["0.weight"]).all()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs triton")
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    members=st.integers(1, 3),
    widths=st.tuples(st.integers(1, 40), st.integers(1, 60)),
    clip=st.floats(1e-3, 10.0),
)
def test_the_fused_update_is_the_reference_at_any_shape(
    members: int, widths: tuple[int, int], clip: float
) -> None:
    ends = []
    for name in ("reference", "triton"):
        parameters = Parameters.of(models(members, widths), DEVICE)
        buffers = buffers_of(parameters, [1e-2] * members, [clip] * members)
        apply = update(name)(buffers, AdamSettings(0.9, 0.999, 1e-8))
        for step in range(2):
            apply(
                [g.view(members, -1) for g in gradients(parameters, step)], torch.ones(members, device=DEVICE)
            )
        ends.append(buffers)
    for field in ("values", "first_moment", "second_moment", "gradient_norm_max"):
        torch.testing.assert_close(getattr(ends[1], field), getattr(ends[0], field), rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("name", [FUSED])
def test_every_captured_graph_has_a_table_of_its_own(name: str) -> None:
    """The graph of a length reads its gradients at other addresses than that of another length."""
    buffers = buffers_of(Parameters.of(models(1), DEVICE), [1e-3], [1.0])
    apply: Any = update(name)(buffers, AdamSettings(0.9, 0.999, 1e-8))
    captures = [[16, 32, 64], [48, 80, 96]]
    for apply.captured in captures:
        apply.bind()
    assert [table.tolist() for table in apply.bound] == captures
    assert apply.addresses.data_ptr() not in {table.data_ptr() for table in apply.bound}
