"""On a GPU: the captured step is the eager step, prompts are the CPU's, and resuming changes no bit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
torch = pytest.importorskip("torch")

from bench.models.architectures import ARCHITECTURES  # noqa: E402
from bench.models.sizes import Size  # noqa: E402
from bench.run import Run  # noqa: E402
from bench.tasks import TASKS  # noqa: E402
from bench.tasks.draws import Draws  # noqa: E402
from bench.train.loop import Interrupted, Options, Progress, configure, train  # noqa: E402
from bench.train.step import captured_step, eager_step, initial_state  # noqa: E402

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
NAMES = list(ARCHITECTURES)


def small_run(name: str, **fields: object) -> Run:
    architecture = ARCHITECTURES[name]
    return Run.model_validate(
        {
            "task": TASKS["linear_regression"](),
            "architecture": architecture,
            "size": Size(layers=2, width=32).of(architecture),
            "learning_rate": 1e-3,
            "steps": 40,
            "checkpoints": (20, 40),
            "batch_size": 8,
            "evaluation_prompts": 64,
            **fields,
        }
    )


@pytest.mark.parametrize("name", NAMES)
def test_captured_steps_are_the_eager_steps_to_the_bit(name: str) -> None:
    run, device = small_run(name), torch.device("cuda")
    configure(run, device)
    if name in ("s4_mamba", "lstm"):  # dropout draws differ between the two ways; the arithmetic must not
        run = run.model_copy(update={"architecture": run.architecture.with_options({"dropout": 0.0})})
    states = []
    for way in (eager_step, captured_step):
        state = initial_state(run, device, "sequential")
        step = way(run, state)
        for _ in range(10):
            step()
        states.append([tensor.clone() for tensor in state.tensors()])
    for eager, captured in zip(*states, strict=True):
        assert torch.equal(eager, captured)


@pytest.mark.parametrize(
    ("name", "fields"),
    [*((name, {}) for name in TASKS), ("vector_mqar", {"layout": "spaced", "training_prompts": 1000})],
)
def test_every_task_can_be_captured_and_trains_as_eagerly(name: str, fields: dict[str, object]) -> None:
    run, device = small_run("transformer", task=TASKS[name](**fields)), torch.device("cuda")
    configure(run, device)
    states = []
    for way in (eager_step, captured_step):
        state = initial_state(run, device, "sequential")
        step = way(run, state)
        for _ in range(5):
            step()
        states.append([tensor.clone() for tensor in state.tensors()])
    for eager, captured in zip(*states, strict=True):
        assert torch.equal(eager, captured)


@pytest.mark.parametrize("name", list(TASKS))
def test_training_prompts_are_those_of_the_cpu(name: str) -> None:
    task = TASKS[name]()
    cpu, gpu = (
        task.batch(Draws(3, "train", torch.tensor(5000, device=device)), 16) for device in ("cpu", "cuda")
    )
    torch.testing.assert_close(gpu.tokens.cpu(), cpu.tokens, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gpu.targets.cpu(), cpu.targets, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_ends_with_the_same_bits(name: str, tmp_path: Path) -> None:
    run, device = small_run(name), torch.device("cuda")
    straight = train(run, tmp_path / "a", Options(device))
    last: list[Progress] = []
    with pytest.raises(Interrupted):
        train(run, tmp_path / "b", Options(device, report=last.append, stop=lambda: last[-1].step >= 7))
    resumed = train(run, tmp_path / "b", Options(device))
    assert resumed["provenance"]["resumptions"] == 1
    straight.pop("provenance"), resumed.pop("provenance")
    assert straight == resumed
