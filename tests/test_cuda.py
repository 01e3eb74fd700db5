"""On a GPU: the captured step is the eager step, prompts are the CPU's, and resuming changes no bit."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
torch = pytest.importorskip("torch")
from small_runs import small_run, without_dropout  # noqa: E402
from torch import Tensor  # noqa: E402

from bench.kernels import backends, branches, registry, self_test  # noqa: E402
from bench.kernels.attention import attention  # noqa: E402
from bench.kernels.convolution import short_convolution  # noqa: E402
from bench.kernels.dropout import dropout, site  # noqa: E402
from bench.kernels.product import linear, precision  # noqa: E402
from bench.kernels.scan import selective_scan  # noqa: E402
from bench.models.architecture import Architecture  # noqa: E402
from bench.models.architectures import ARCHITECTURES  # noqa: E402
from bench.models.sizes import Size  # noqa: E402
from bench.optimizers import AdamW  # noqa: E402
from bench.run import Run  # noqa: E402
from bench.speed.measure import measure, roofline  # noqa: E402
from bench.stack import Stack  # noqa: E402
from bench.tasks import TASKS, Task  # noqa: E402
from bench.tasks.draws import Draws  # noqa: E402
from bench.tasks.languages.ginc import GINC  # noqa: E402
from bench.tasks.languages.regbench import RegBench  # noqa: E402
from bench.train import Interrupted, loop  # noqa: E402
from bench.train.backends_agree import (  # noqa: E402
    SLACK,
    largest_difference,
    stack_losses,
    stack_with_companions,
    training_losses,
)
from bench.train.capture import captured_step  # noqa: E402
from bench.train.loop import Progress, TrainingOptions, train, train_stack  # noqa: E402
from bench.train.state import State, initial_state  # noqa: E402
from bench.train.step import eager_step  # noqa: E402
from bench.train.torch_settings import configure, restoring_settings  # noqa: E402

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
NAMES = list(ARCHITECTURES)
KERNELS = {name: kernel for name, kernel in registry.kernels().items() if kernel.draw}


@pytest.fixture(autouse=True)
def settings_of_the_process() -> Iterator[None]:
    """Training in TF32 sets the precision of the whole process; the next test expects fp32."""
    with restoring_settings(torch.device("cuda")):
        yield


def gpu_run(name: str, **fields: Any) -> Run:
    """A run whose prompts have 82 tokens."""
    usual = {
        "task": TASKS["linear_regression"](),
        "size": Size(layers=2, width=32),
        "learning_rate": 1e-3,
        "steps": 40,
        "checkpoints": (20, 40),
        "evaluation_prompts": 64,
    }
    return small_run(name, **{**usual, **fields})


@pytest.mark.parametrize("backend", ["sequential", "triton"])
@pytest.mark.parametrize("name", NAMES)
def test_captured_steps_are_the_eager_steps_to_the_bit(name: str, backend: str) -> None:
    run, device = without_dropout(gpu_run(name)), torch.device("cuda")
    configure(run, device)
    states = []
    for way in (eager_step, captured_step):
        state = initial_state(Stack.of(run), device, backend)
        step = way(state)
        for _ in range(10):
            step()
        states.append([tensor.clone() for tensor in state.tensors().values()])
    for eager, captured in zip(*states, strict=True):
        assert torch.equal(eager, captured)


@pytest.mark.parametrize("name", ["mamba", "mambaformer"])
def test_captured_steps_of_a_stack_are_the_eager_steps_to_the_bit(name: str) -> None:
    run, device = without_dropout(gpu_run(name)), torch.device("cuda")
    configure(run, device)
    states = []
    for way in (eager_step, captured_step):
        state = initial_state(stack_with_companions(run), device, "triton")
        step = way(state)
        for _ in range(10):
            step()
        states.append([tensor.clone() for tensor in state.tensors().values()])
    for eager, captured in zip(*states, strict=True):
        assert torch.equal(eager, captured)


@pytest.mark.parametrize(
    ("name", "fields"),
    [*((name, {}) for name in TASKS), ("vector_mqar", {"layout": "spaced", "training_prompts": 1000})],
)
def test_every_task_can_be_captured_and_trains_as_eagerly(name: str, fields: dict[str, object]) -> None:
    run, device = (
        gpu_run("transformer", task=TASKS[name].model_validate({**TASKS[name].example_fields, **fields})),
        torch.device("cuda"),
    )
    configure(run, device)
    states = []
    for way in (eager_step, captured_step):
        state = initial_state(Stack.of(run), device, "sequential")
        step = way(state)
        for _ in range(5):
            step()
        states.append([tensor.clone() for tensor in state.tensors().values()])
    for eager, captured in zip(*states, strict=True):
        assert torch.equal(eager, captured)


REGBENCH = RegBench(languages=60, max_string_length=9)
"""With batches of several lengths."""
DROPOUTS = {"dropout": 0.1, "attention_dropout": 0.1, "embedding_dropout": 0.1}
variants = pytest.mark.parametrize(
    "architecture",
    [
        ARCHITECTURES["transformer"],
        ARCHITECTURES["transformer"].with_options(DROPOUTS),
        ARCHITECTURES["transformer"].with_options({"causal": False}),
        ARCHITECTURES["standard_hybrid"],
        ARCHITECTURES["lstm"],
    ],
    ids=lambda architecture: architecture.name,
)


def after(way: Callable[[State], Callable[[], None]], stack: Stack, backend: str, steps: int) -> list[Tensor]:
    device = torch.device("cuda")
    configure(stack.first, device)
    torch.manual_seed(0)
    state = initial_state(stack, device, backend)
    step = way(state)
    for _ in range(steps):
        step()
    return [tensor.clone() for tensor in state.tensors().values()]


# PyTorch's attention, which the sequential backend uses, gives a stack other bits in a captured graph.
@pytest.mark.parametrize(("seeds", "backend"), [((0,), "sequential"), ((0,), "triton"), ((0, 1), "triton")])
@variants
def test_batches_of_several_lengths_are_captured_and_train_as_eagerly(
    architecture: Architecture, seeds: tuple[int, ...], backend: str
) -> None:
    """A graph per length; dropout draws the same masks in all of them."""
    if len(seeds) > 1 and architecture.name == "lstm":
        pytest.skip("an LSTM is not stacked")
    runs = [gpu_run(architecture.base_name, task=REGBENCH, seed=seed) for seed in seeds]
    stack = Stack.of(*(run.model_copy(update={"architecture": architecture}) for run in runs))
    lengths = [max(REGBENCH.batch_length(seed, step, 8) for seed in seeds) for step in range(24)]
    assert len(set(lengths[:12]) & set(lengths[12:])) > 1
    for eager, captured in zip(
        after(eager_step, stack, backend, 24), after(captured_step, stack, backend, 24), strict=True
    ):
        assert torch.equal(eager, captured)


@pytest.mark.parametrize("backend", ["sequential", "triton"])
def test_members_of_a_stack_have_the_lengths_and_masks_that_they_have_alone(backend: str) -> None:
    architecture, device = ARCHITECTURES["transformer"].with_options(DROPOUTS), torch.device("cuda")
    runs = [gpu_run("transformer", task=REGBENCH, steps=24, checkpoints=(24,), seed=k) for k in (0, 1)]
    stack = Stack.of(*(run.model_copy(update={"architecture": architecture}) for run in runs))
    together, _ = stack_losses(stack, device, backend)
    for member, losses in zip(stack.members, together, strict=True):
        assert losses == pytest.approx(training_losses(member, device, backend)[0], rel=1e-3)
    other, _ = stack_losses(stack, torch.device("cpu"), "sequential")
    assert other[0] == pytest.approx(together[0], rel=1e-3)


def test_a_carried_state_is_captured_and_begins_anew_with_every_epoch() -> None:
    architecture = ARCHITECTURES["lstm"].with_options({"carry": True})
    size, task = Size(layers=2, width=32).of(architecture), GINC(symbols=50, block=64, documents=1)
    run = Run.model_validate(
        {
            "task": task, "architecture": architecture, "size": size, "learning_rate": 1e-3,
            "optimizer": AdamW(warmup_steps=0, decay="plateau"), "steps": 45, "checkpoints": (45,),
            "batch_size": 8,
        }
    )  # fmt: skip
    assert task.windows_per_stream(8) == 20
    stack = Stack.of(run)
    for eager, captured in zip(
        after(eager_step, stack, "triton", 45), after(captured_step, stack, "triton", 45), strict=True
    ):
        assert torch.equal(eager, captured)


@pytest.mark.parametrize("shape", [(2, 9, 70), (3, 2, 130, 130)])
def test_fused_dropout_is_its_formula_to_the_bit(shape: tuple[int, ...]) -> None:
    key, place = torch.tensor([2**62 + 7, -5, 2**33]), site(5, 0.3)
    x = torch.randn(2, *shape)
    expected = torch.func.vmap(lambda x: dropout("reference")(x, key, place))(x)
    drawn = torch.func.vmap(lambda x: dropout("triton")(x, key.cuda(), place.cuda()))(x.cuda())
    assert torch.equal(drawn.cpu(), expected)


def test_a_resumed_run_captures_the_lengths_of_its_steps_anew(tmp_path: Path) -> None:
    architecture, device = ARCHITECTURES["transformer"].with_options(DROPOUTS), torch.device("cuda")
    run = gpu_run("transformer", task=REGBENCH).model_copy(update={"architecture": architecture})
    straight = train(run, tmp_path / "a", TrainingOptions(device, "triton"))
    last: list[Progress] = []
    stop = TrainingOptions(device, "triton", report=last.append, asked_to_stop=lambda: last[-1].step >= 7)
    with pytest.raises(Interrupted):
        train(run, tmp_path / "b", stop)
    resumed = train(run, tmp_path / "b", TrainingOptions(device, "triton"))
    straight.pop("provenance"), resumed.pop("provenance")
    assert straight == resumed


@pytest.mark.parametrize("name", list(TASKS))
def test_training_prompts_are_those_of_the_cpu(name: str) -> None:
    task = TASKS[name].example()
    cpu, gpu = (
        task.batch(Draws(3, "train", torch.tensor(5000, device=device)), 16) for device in ("cpu", "cuda")
    )
    torch.testing.assert_close(gpu.tokens.cpu(), cpu.tokens, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gpu.targets.cpu(), cpu.targets, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", [name for name, cls in TASKS.items() if cls.example().joins_seeds])
def test_training_prompts_of_several_seeds_are_those_of_each(name: str) -> None:
    task, step = TASKS[name].example(), torch.tensor(5000, device="cuda")
    together = task.batch(Draws((3, 8, 1), "train", step, batch=16), 48)
    alone = [task.batch(Draws(seed, "train", step), 16) for seed in (3, 8, 1)]
    for part in ("tokens", "targets"):
        expected = torch.cat([getattr(prompts, part) for prompts in alone])
        torch.testing.assert_close(getattr(together, part), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "task",
    [
        TASKS["linear_regression"](),
        TASKS["vector_mqar"](training_prompts=300),
        TASKS["sparse_parity"](n_points=41, subset="per_batch"),
        TASKS["fuzzy_recall"](),
        TASKS["linear_dynamical_system"](),
    ],
    ids=lambda task: task.name,
)
def test_a_stack_of_several_seeds_is_captured_and_trains_as_eagerly(task: Task) -> None:
    runs = [
        gpu_run("mamba", task=task, seed=seed, learning_rate=rate, evaluation_prompts=128)
        for seed, rate in ((0, 1e-3), (1, 1e-3), (1, 2e-3), (2, 1e-3))
    ]
    for some in (runs, runs[:2]):
        stack = Stack.of(*some)
        for eager, captured in zip(
            after(eager_step, stack, "triton", 10), after(captured_step, stack, "triton", 10), strict=True
        ):
            assert torch.equal(eager, captured)


@pytest.mark.parametrize("stays", ["0110", "010"])
def test_a_stack_that_becomes_smaller_is_captured_anew_and_trains_as_eagerly(
    stays: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Members diverge at once; two others go on, or one."""
    rates = [1e-3 if letter == "1" else 1e30 for letter in stays]
    runs = [gpu_run("mamba", seed=seed, learning_rate=rate, clip=1e30) for seed, rate in enumerate(rates)]
    stack, options = Stack.of(*runs), TrainingOptions(torch.device("cuda"), "triton")
    monkeypatch.setattr(loop, "LEAST_STEPS_LEFT", 1)
    captured = train_stack(stack, tmp_path / "captured", options)
    sizes: list[int] = []

    def step(state: State, group: Any) -> Callable[[], None]:
        sizes.append(len(state.stack))
        return eager_step(state, group)

    monkeypatch.setattr(loop, "captured_step", step)
    eager = train_stack(stack, tmp_path / "eager", options)
    assert sizes == [len(stays), stays.count("1")]
    for one, other in zip(captured, eager, strict=True):
        assert {**one, "provenance": None} == {**other, "provenance": None}


@pytest.mark.parametrize("stop", [7, 40], ids=["in training", "in the last evaluation"])
@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_ends_with_the_same_bits(name: str, stop: int, tmp_path: Path) -> None:
    run, device = gpu_run(name), torch.device("cuda")
    straight = train(run, tmp_path / "a", TrainingOptions(device))
    last: list[Progress] = []
    with pytest.raises(Interrupted):
        train(
            run,
            tmp_path / "b",
            TrainingOptions(device, report=last.append, asked_to_stop=lambda: last[-1].step >= stop),
        )
    resumed = train(run, tmp_path / "b", TrainingOptions(device))
    assert resumed["provenance"]["resumptions"] == 1
    first, second = resumed["provenance"]["pieces"]
    assert (first["captured"], second["captured"]) == (True, True)
    assert first["from_step"] == 0 < stop <= second["from_step"]
    assert first["backends"] == second["backends"] == straight["provenance"]["pieces"][0]["backends"] != {}
    straight.pop("provenance"), resumed.pop("provenance")
    assert straight == resumed


def test_a_process_keeps_no_memory_of_the_runs_it_trained(tmp_path: Path) -> None:
    left = []
    for name in ("mamba", "transformer", "mamba", "transformer"):
        train(gpu_run(name), tmp_path / name, TrainingOptions(torch.device("cuda"), "triton"))
        gc.collect()
        left.append(torch.cuda.memory_allocated())
    assert left[3] - left[1] < 2**20, left


def test_every_backend_agrees_with_float64_at_every_length_of_the_study() -> None:
    outcomes = self_test.self_test(torch.device("cuda"), backends.NAMES, self_test.LENGTHS)
    assert {one.backend for one in outcomes if one.agrees} >= {"triton", "sequential", "reference"}
    wrong = [one for one in outcomes if not one.agrees and not one.unavailable]
    assert not wrong


@pytest.mark.parametrize("in_cuda", [True, False])
@pytest.mark.parametrize(
    ("channels", "state", "length"), [(1, 1, 3), (33, 2, 17), (40, 8, 82), (70, 16, 9), (96, 32, 33)]
)
def test_triton_scan_is_the_reference_at_odd_shapes(
    channels: int, state: int, length: int, in_cuda: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.kernels.scan import cuda

    if not in_cuda:
        monkeypatch.setattr(cuda, "suits", lambda *inputs: False)
    torch.manual_seed(0)
    over = (3, length)
    shapes = [(*over, channels), (*over, channels), (channels,), (channels, state), (*over, state)]
    shapes += [(*over, state), (channels,), (*over, channels)]
    inputs = [torch.randn(shape, device="cuda") for shape in shapes]
    inputs[3] = -inputs[3].exp()
    values = [value.requires_grad_() for value in inputs]
    exact = [value.detach().double().requires_grad_() for value in inputs]
    weights = torch.randn(*over, channels, device="cuda")
    y = selective_scan("triton")(*values)
    expected = selective_scan("reference")(*exact)
    torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-5)
    found = torch.autograd.grad((y * weights).sum(), values)
    for one, other in zip(found, torch.autograd.grad((expected * weights).sum(), exact), strict=True):
        assert float((one - other).abs().max() / other.abs().max().clamp(min=1e-3)) < 1e-4


@pytest.mark.parametrize(("channels", "taps", "length"), [(1, 4, 3), (33, 4, 17), (40, 3, 82), (8, 2, 1)])
@pytest.mark.parametrize("name", ["triton", "mamba_ssm"])
def test_short_convolution_is_the_reference_at_odd_shapes(
    name: str, channels: int, taps: int, length: int
) -> None:
    if why := backends.unavailable(name, "cuda"):
        pytest.skip(why)
    torch.manual_seed(0)
    both = torch.randn(3, length, 2 * channels, device="cuda")
    first, second = (half.detach().requires_grad_() for half in both.chunk(2, dim=2))  # slices, as in Mamba
    rest = [torch.randn(shape, device="cuda").requires_grad_() for shape in ((channels, taps), (channels,))]
    for x in (first, second):
        exact = [value.detach().double().requires_grad_() for value in (x, *rest)]
        y = short_convolution(name)(x, *rest)
        expected = short_convolution("reference")(*exact)
        torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-5)
        found = torch.autograd.grad((y * y).sum(), (x, *rest))
        for one, other in zip(found, torch.autograd.grad((expected**2).sum(), exact), strict=True):
            assert float((one - other).abs().max() / other.abs().max()) < 1e-4


@pytest.mark.parametrize("name", ["mamba", "s4", "s4_mamba"])
def test_backends_train_alike_for_the_first_hundred_steps(name: str) -> None:
    run, device = without_dropout(gpu_run(name, steps=100, checkpoints=(100,))), torch.device("cuda")
    expected, _ = training_losses(run, device, "sequential")
    assert expected[-1] < expected[0]
    for backend in ("reference", "triton", "mamba_ssm"):
        if not backends.unavailable(backend, "cuda"):
            assert training_losses(run, device, backend)[0] == pytest.approx(expected, rel=1e-3), backend


@pytest.mark.parametrize("products", ["fp32", "tf32"])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "lstm"])
def test_members_of_a_stack_train_as_they_would_alone(name: str, products: str) -> None:
    """Over a hundred steps, as closely as ten times the drift that one ulp of the weights causes."""
    fields = {"steps": 100, "checkpoints": (100,), "precision": products, "batch_size": 64}
    run, device = without_dropout(gpu_run(name, **fields)), torch.device("cuda")
    stack = stack_with_companions(run)
    together, _ = stack_losses(stack, device, "triton")
    for member, losses in zip(stack.members, together, strict=True):
        alone, _ = training_losses(member, device, "triton")
        perturbed, _ = training_losses(member, device, "triton", perturbed=True)
        assert largest_difference(losses, alone) <= SLACK * largest_difference(perturbed, alone)


def squares(outputs: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
    tensors = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
    return torch.stack([(tensor**2).sum() for tensor in tensors]).sum()


@pytest.mark.parametrize("backend", ["triton", "mamba_ssm"])
def test_a_stack_of_models_is_each_model_alone(backend: str) -> None:
    if why := backends.unavailable(backend, "cuda"):
        pytest.skip(why)
    for kernel in KERNELS:
        function = KERNELS[kernel].load(backend)
        values = [value.cuda() for value in KERNELS[kernel].inputs(82)]
        floats = tuple(place for place, value in enumerate(values) if value.is_floating_point())
        scaled = [0.9 * value if value.is_floating_point() else value for value in values]
        stack = [torch.stack(pair) for pair in zip(values, scaled, strict=True)]

        def loss(*values: torch.Tensor, function=function) -> torch.Tensor:  # type: ignore[no-untyped-def]
            return squares(function(*values))

        gradient = torch.func.grad(loss, floats)
        together = torch.func.vmap(gradient)(*stack)
        for k in range(2):
            for one, alone in zip(together, gradient(*(value[k] for value in stack)), strict=True):
                assert float((one[k] - alone).abs().max() / alone.abs().max()) < 1e-5, kernel


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize(
    "kernel", ["Mamba block", "gated input", "diagonal SSM", "product", "product and bias"]
)
def test_branches_change_no_bit(kernel: str, members: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients with work on other streams, computed often, are those of one stream."""
    function = KERNELS[kernel].load("triton")
    values = [value.cuda() for value in KERNELS[kernel].inputs(82, batch=64)]
    if members > 1:
        values = [torch.stack([value * (1 + k) for k in range(members)]) for value in values]
        function = torch.func.vmap(function)
    leaves = [value.requires_grad_() for value in values]

    def gradients() -> tuple[Tensor, ...]:
        return torch.autograd.grad(squares(function(*leaves)), leaves)

    together = [gradients() for _ in range(20)]
    monkeypatch.setattr(branches, "_stream", lambda device, number: torch.cuda.current_stream(device))
    expected = gradients()
    assert all(torch.equal(*pair) for result in together for pair in zip(result, expected, strict=True))


@pytest.mark.parametrize("kept", [branches.KEPT, 0])
@pytest.mark.parametrize("way", [eager_step, captured_step])
@pytest.mark.parametrize(
    "name", ["transformer", "mamba", "s4", "s4_mamba", "transformer_plus_plus", "deltanet"]
)
def test_branches_that_are_left_change_no_bit(
    name: str, way: Callable[[State], Callable[[], None]], kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After many steps, whose branches end with the backward pass, parameters are those of one stream."""
    run, device = without_dropout(gpu_run(name)), torch.device("cuda")
    configure(run, device)
    monkeypatch.setattr(branches, "KEPT", kept)

    def parameters() -> Tensor:
        state = initial_state(Stack.of(run), device, "triton")
        step = way(state)
        for _ in range(60):
            step()
        return state.parameters.values.clone()

    together = [parameters() for _ in range(3)]
    monkeypatch.setattr(branches, "_stream", lambda device, number: torch.cuda.current_stream(device))
    expected = parameters()
    assert all(torch.equal(result, expected) for result in together)


@pytest.mark.filterwarnings("ignore:.*complex operators:UserWarning")  # they run as they are, beside the rest
@pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores:UserWarning")
@pytest.mark.parametrize("kernel", list(KERNELS))
@pytest.mark.parametrize("backend", ["triton", "mamba_ssm"])
def test_a_compiled_kernel_has_the_same_outputs_and_gradients(backend: str, kernel: str) -> None:
    if why := backends.unavailable(backend, "cuda"):
        pytest.skip(why)
    function = KERNELS[kernel].load(backend)
    values = [value.cuda() for value in KERNELS[kernel].inputs(82)]
    floats = [value.requires_grad_() for value in values if value.is_floating_point()]

    def loss(function, *values: torch.Tensor) -> torch.Tensor:  # type: ignore[no-untyped-def]
        return squares(function(*values))

    torch._dynamo.reset()  # all operators share one code object, of which it compiles only a few versions
    plain = torch.autograd.grad(loss(function, *values), floats)
    compiled = torch.autograd.grad(loss(torch.compile(function, fullgraph=True), *values), floats)
    for one, other in zip(compiled, plain, strict=True):
        assert float((one - other).abs().max() / other.abs().max()) < 1e-5


@pytest.mark.parametrize("seed", [3, (3, 2**40, 0)])
@pytest.mark.parametrize("rows", [None, (5, 2, 900)])
def test_fused_draws_are_the_same_bits_as_the_processors(
    rows: tuple[int, ...] | None, seed: int | tuple[int, ...]
) -> None:
    cpu, gpu = (
        Draws(
            seed,
            "train",
            torch.tensor(2**40 + 7, device=device),
            None if rows is None else torch.tensor(rows, device=device),
            batch=1,
        )
        for device in ("cpu", "cuda")
    )
    assert gpu._fused
    for draw in (
        lambda draws: draws.uniform("b", 3, 500, 21),
        lambda draws: draws.normal("c", 3, 700, 13),
        lambda draws: draws.normal(
            "c", 3, 700, 13, within=torch.tensor(5, device=draws.step.device), double=True
        ),
        lambda draws: draws.integers("d", 20, 3, 101),
        lambda draws: draws.signs("e", 3, 101),
        lambda draws: draws.subsets("f", 3, 4, 9, 20),
        lambda draws: draws.subsets("f", 3, 2, torch.tensor(5, device=draws.step.device), 10),
    ):
        torch.testing.assert_close(draw(gpu).cpu(), draw(cpu), rtol=2e-7, atol=0)


@pytest.mark.parametrize("members", [1, 4])
def test_a_step_is_timed_and_its_kernels_fill_it(members: int) -> None:
    device = torch.device("cuda")
    row = measure(gpu_run("mamba"), members, device, "triton", profile=True)
    assert row.failure is None
    assert row.ms_per_step is not None
    assert row.kernels_per_step is not None
    assert row.kernels_per_step > 20
    assert row.kernels_per_step == pytest.approx(sum(kernel.launches for kernel in row.profile))
    assert row.peak_memory_mib is not None
    busy = sum(kernel.microseconds for kernel in row.profile) / 1e3
    assert 0.2 * row.ms_per_step < busy < 1.5 * row.ms_per_step
    names = " ".join(kernel.name for kernel in row.profile)
    assert "adam" in names


def test_tf32_weights_rounds_products_with_weights_and_leaves_attention_exact() -> None:
    """The gradient of a bias of keys is zero. Adam makes steps of what rounding leaves of it."""
    torch.manual_seed(0)
    x, weight = torch.randn(500, 128, device="cuda"), torch.randn(64, 128, device="cuda")
    qkv = torch.randn(16, 82, 3, 8, 16, device="cuda", requires_grad=True)
    products, left = {}, {}
    for name in ("fp32", "tf32", "tf32_weights"):
        with precision(name):
            products[name] = linear("triton")(x, weight)
            dk = torch.autograd.grad(attention("triton")(qkv).square().sum(), qkv)[0][:, :, 1]
        left[name] = float(dk.sum(1).abs().max() / dk.abs().sum(1).max())
    assert torch.equal(products["tf32_weights"], products["tf32"])
    assert not torch.equal(products["tf32_weights"], products["fp32"])
    assert left["tf32_weights"] == left["fp32"] < 1e-6
    assert left["tf32"] > 10 * left["fp32"]


def test_the_roofline_of_tf32_is_above_that_of_fp32() -> None:
    limits = roofline(torch.device("cuda"), ("fp32", "tf32"))
    assert limits.product_flops_per_second["tf32"] > 1.5 * limits.product_flops_per_second["fp32"]
    assert limits.copy_bytes_per_second > 1e11
