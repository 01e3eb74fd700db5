"""Dropout in training: masks follow from the seed and the step, however a run is computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bench.models.architectures import ARCHITECTURES
from bench.models.backbone import Model
from bench.models.dropout import masks
from bench.models.sizes import Size
from bench.optimizers import AdamW
from bench.run import Run
from bench.stack import Stack
from bench.tasks.languages.regbench import RegBench
from bench.train import Interrupted
from bench.train.backends_agree import stack_losses, training_losses
from bench.train.loop import Progress, TrainingOptions, train
from bench.train.state import initial_state
from bench.train.step import eager_step

CPU = torch.device("cpu")
TASK = RegBench(languages=40, max_states=5, max_letters=6, max_string_length=16, min_strings=3, max_strings=5)
OPTIONS = {"dropout": 0.2, "attention_dropout": 0.3, "embedding_dropout": 0.1}
VARIANTS = [ARCHITECTURES["transformer"].with_options(OPTIONS), ARCHITECTURES["lstm"]]
variants = pytest.mark.parametrize("architecture", VARIANTS, ids=lambda variant: variant.base_name)
transformer = VARIANTS[0]


def run_of(architecture: Any, **fields: Any) -> Run:
    usual: dict[str, Any] = {
        "task": TASK,
        "architecture": architecture,
        "size": Size(layers=2, width=16, heads=2).of(architecture),
        "learning_rate": 1e-2,
        "optimizer": AdamW(warmup_steps=2),
        "batch_size": 4,
        "steps": 8,
        "checkpoints": (8,),
        "evaluation_prompts": 6,
    }
    return Run.model_validate({**usual, **fields})


def losses_of(run: Run) -> list[float]:
    return training_losses(run, CPU, "sequential")[0]


@variants
def test_a_resumed_run_has_the_masks_of_an_uninterrupted_one(architecture: Any, tmp_path: Path) -> None:
    run = run_of(architecture)
    straight = train(run, tmp_path / "straight", TrainingOptions(CPU))
    seen: list[Progress] = []
    stop = TrainingOptions(CPU, report=seen.append, asked_to_stop=lambda: seen[-1].step >= 3)
    with pytest.raises(Interrupted):
        train(run, tmp_path / "resumed", stop)
    resumed = train(run, tmp_path / "resumed", TrainingOptions(CPU))
    assert resumed["curve"] == straight["curve"]
    assert resumed["checkpoints"] == straight["checkpoints"]


def test_members_of_a_stack_have_the_masks_that_they_have_alone() -> None:
    """With other rates, with another seed, and with prompts that are padded for another seed's."""
    runs = [
        run_of(transformer, learning_rate=rate, seed=seed) for rate, seed in ((1e-2, 0), (2e-3, 0), (1e-2, 1))
    ]
    together, _ = stack_losses(Stack.of(*runs), CPU, "sequential")
    for run, losses in zip(Stack.of(*runs).members, together, strict=True):
        assert losses == pytest.approx(losses_of(run), rel=1e-4)
    assert together[0][0] == pytest.approx(together[1][0], rel=1e-5)  # one seed: the rates differ later
    assert together[0][0] != pytest.approx(together[2][0], rel=1e-5)


@variants
def test_masks_do_not_depend_on_the_length_of_the_batch_or_on_torchs_generator(
    architecture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(architecture)
    expected = losses_of(run)
    monkeypatch.setattr(RegBench, "batch_length", lambda task, seed, step, size: task.n_points)
    monkeypatch.setattr("bench.train.loop.seed_random", lambda seed: torch.manual_seed(99))
    assert losses_of(run) == pytest.approx(expected, rel=1e-4)
    plain = run_of(ARCHITECTURES[architecture.base_name].with_options({"dropout": 0.0}))
    assert losses_of(plain) != pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("option", list(OPTIONS))
def test_every_option_drops_in_training_alone(option: str) -> None:
    variant = ARCHITECTURES["transformer"].with_options({option: 0.5})
    assert variant.name == f"transformer+{option}=0.5"
    run = run_of(variant)
    model = initial_state(Stack.of(run), CPU, "sequential").model
    plain = initial_state(Stack.of(run_of(ARCHITECTURES["transformer"])), CPU, "sequential").model
    tokens = torch.arange(8).repeat(3, 1)
    key = torch.tensor([1, 2, 3])
    with masks(key):
        dropped = model(tokens)
        assert torch.equal(dropped, model(tokens))
        torch.testing.assert_close(model.eval()(tokens), plain(tokens))
        assert not torch.allclose(dropped, plain(tokens), rtol=1e-3)
    with masks(key + 1):
        assert not torch.allclose(model.train()(tokens), dropped, rtol=1e-3)
    assert model.state_dict().keys() == plain.state_dict().keys()


def test_sites_of_a_model_have_different_numbers() -> None:
    model: Model = initial_state(Stack.of(run_of(transformer)), CPU, "sequential").model
    sites = [int(buffer[0]) for name, buffer in model.named_buffers() if name.endswith("site")]
    assert len(set(sites)) == len(sites) == 7  # of the embedding, and three in each of two layers


def test_dropout_leaves_the_ids_of_runs_without_it() -> None:
    default = run_of(ARCHITECTURES["transformer"])
    stated = run_of(ARCHITECTURES["transformer"].with_options(dict.fromkeys(OPTIONS, 0.0)))
    assert stated.id == default.id
    assert "dropout" not in str(default.identity())
    assert run_of(transformer).id != default.id


def test_a_step_with_dropout_reads_no_number_of_torchs_generator() -> None:
    step = eager_step(initial_state(Stack.of(run_of(transformer)), CPU, "sequential"))
    torch.manual_seed(0)
    before = torch.get_rng_state()
    step()
    assert torch.equal(torch.get_rng_state(), before)
