"""`bench speed`: steps are timed, failures are rows, records are kept, read and merged, profiles add up."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from command import ROOT, as_json, bench, said
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import run_of, task_named
from torch.autograd.profiler_util import FunctionEvent

from bench import results as pools
from bench.cli.arguments import SuiteChoice
from bench.cli.speed import SpeedOptions, numbers, show_speed, words
from bench.errors import UserError
from bench.run import Run
from bench.speed import measure as measuring
from bench.speed import records
from bench.speed.cases import USUAL_ARCHITECTURES, Grid, distinct, runs_of, stack_of, stacks_of
from bench.speed.measure import REPEATS, measure, roofline, seconds_per_call
from bench.speed.picture import LONGEST_NAME, by_group, draw, largest, short_name
from bench.speed.profile import device_events, group_of, summed
from bench.speed.records import KernelTime, Record, Row, flops_per_step, shape_of
from bench.stack import stack_shape

CPU = torch.device("cpu")
TINY = task_named(n_dims=2, n_points=3)


def tiny(architecture: str = "transformer", **fields: Any) -> Run:
    return run_of(TINY, architecture, 1, 8, batch_size=2, **fields)


# Cases


def test_the_default_grid_is_the_papers_six_architectures_in_both_precisions() -> None:
    runs = runs_of(Grid())
    assert [(run.architecture.name, run.precision) for run in runs] == [
        (name, precision) for name in USUAL_ARCHITECTURES for precision in ("fp32", "tf32")
    ]
    assert {(run.size.layers, run.size.width, run.task.name) for run in runs} == {
        (2, 128, "linear_regression")
    }


def test_stacks_are_timed_where_runs_train_in_stacks() -> None:
    assert stacks_of(Grid(), "cuda") == (1, 16)
    assert stacks_of(Grid(), "cpu") == (1,)
    assert stacks_of(Grid(stacks=(1, 4)), "cpu") == (1, 4)


@pytest.mark.parametrize("members", [1, 3, 4, 10])
def test_a_stack_has_four_learning_rates_for_each_seed(members: int) -> None:
    run = tiny()
    assert run.id  # is cached; a copy must not keep it
    stack = stack_of(run, members)
    assert len(stack) == members
    assert {stack_shape(member) for member in stack.members} == {stack_shape(run)}
    seeds = [member.seed for member in stack.members]
    assert [seeds.count(seed) for seed in sorted(set(seeds))] == [4] * (members // 4) + [members % 4] * (
        members % 4 > 0
    )


def test_a_suite_is_measured_once_for_each_shape_and_options_take_a_part() -> None:
    runs = [
        tiny(seed=0),
        tiny(seed=1),
        tiny(learning_rate=1.0),
        tiny("mamba"),
        tiny(precision="tf32"),
        tiny().model_copy(update={"batch_size": 4}),
    ]
    assert distinct(runs, Grid()) == [runs[0], *runs[3:]]
    assert distinct(runs, Grid(architectures=("mamba",))) == [runs[3]]
    assert distinct(runs, Grid(precisions=("tf32",))) == [runs[4]]
    with pytest.raises(UserError, match="no run of the suite"):
        distinct(runs, Grid(sizes=("3x3",)))


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (Grid(architectures=("mambo",)), "--architectures mambo, did you mean 'mamba'?"),
        (Grid(tasks=("linear",)), "--tasks linear, expected one of"),
        (Grid(precisions=("fp16",)), "--precisions fp16, did you mean 'bf16'?"),
        (Grid(sizes=("2-128",)), "--sizes 2-128: expected layers x width, such as 2x128"),
        (
            Grid(sizes=("2x999999",)),
            "--sizes 2x999999: expected layers x width, such as 2x128 (numbers up to",
        ),
        (Grid(sizes=("0x8",)), "--sizes 0x8"),
        (Grid(stacks=(4, 0)), "--stacks 0: a stack has at least one member"),
        (Grid(stacks=(4, 10**9)), "--stacks 1000000000: at most 4,096 members can be timed"),
        (Grid(architectures=("transformer",), sizes=("1x9",)), "width 9 is not divisible by 8 heads"),
    ],
)
def test_a_grid_that_cannot_be_meant_is_refused(grid: Grid, message: str) -> None:
    with pytest.raises(UserError) as refused:
        runs_of(grid)
    assert message in str(refused.value)


def test_options_are_words_and_numbers_separated_by_commas() -> None:
    assert words(None, "--tasks") is None
    assert words(" a, b,a,", "--tasks") == ("a", "b")
    assert numbers("1,16", "--stacks") == (1, 16)
    for text in ("1,x", "-1", "1.5"):
        with pytest.raises(UserError, match="--stacks"):
            numbers(text, "--stacks")
    with pytest.raises(UserError, match="--tasks ,: contains no value"):
        words(",", "--tasks")


# Measuring


def test_a_call_takes_as_long_as_it_takes() -> None:
    calls: list[float] = []

    def call() -> None:
        calls.append(time.perf_counter())
        time.sleep(0.01)

    began = time.perf_counter()
    seconds = seconds_per_call(call, CPU)
    per_repeat = (len(calls) - 2) / REPEATS  # two calls warm up and estimate
    # No repeat is longer than all of them, however long other processes have this one's processor.
    assert 0.01 <= seconds <= (time.perf_counter() - began) / per_repeat


@pytest.mark.slow
@pytest.mark.parametrize("members", [1, 2])
def test_a_case_is_timed_alone_and_in_a_stack(members: int) -> None:
    row = measure(tiny("mamba"), members, CPU, "sequential")
    assert row.failure is None
    assert row.ms_per_step is not None
    assert row.ms_per_step > 0
    assert row.ms_per_member == row.ms_per_step / members
    assert row.flops_per_second == pytest.approx(members * row.flops_per_step / (row.ms_per_step / 1e3))
    assert (row.kernels_per_step, row.peak_memory_mib, row.profile) == (None, None, ())


@pytest.mark.slow
def test_a_profile_is_of_this_step() -> None:
    row = measure(tiny(), 1, CPU, "sequential", profile=True)
    names = {kernel.name: kernel for kernel in row.profile}
    assert names["aten::addmm"].group == "matrix products"
    # read-in, three maps of one layer, read-out; the bias of a fourth is added with its GELU
    assert names["aten::addmm"].launches == 5
    times = [kernel.microseconds for kernel in row.profile]
    assert times == sorted(times, reverse=True)


@pytest.mark.slow
def test_a_case_that_fails_is_a_row_that_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    row = measure(tiny("lstm"), 2, CPU, "sequential")
    assert (row.ms_per_step, row.failure) == (None, "lstm has blocks that cannot be stacked")

    def fail(error: BaseException) -> Row:
        def raise_it(*_: Any) -> Any:
            raise error

        monkeypatch.setattr(measuring, "prepared_state", raise_it)
        return measure(tiny(), 1, CPU, "sequential")

    assert fail(torch.OutOfMemoryError("of many MiB")).failure == "out of memory"
    assert fail(RuntimeError("first line\nsecond line")).failure == "RuntimeError: first line"
    assert fail(ValueError()).failure == "ValueError: "
    with pytest.raises(KeyboardInterrupt):
        fail(KeyboardInterrupt())


def test_the_roofline_is_measured_and_leaves_the_precision_as_it_was() -> None:
    before = torch.get_float32_matmul_precision()
    limits = roofline(CPU, ("fp32",))
    assert torch.get_float32_matmul_precision() == before
    assert limits.product_flops_per_second.keys() == {"fp32"}
    assert 1e7 < limits.product_flops_per_second["fp32"] < 1e14
    assert 1e7 < limits.copy_bytes_per_second < 1e14


# Profiles


EVENT = st.tuples(st.sampled_from("abcd"), st.floats(0, 1e6), st.integers(0, 99))


@given(events=st.lists(EVENT), steps=st.integers(1, 9))
def test_profiles_add_up(events: list[tuple[str, float, int]], steps: int) -> None:
    profile = summed(events, steps)
    assert len({kernel.name for kernel in profile}) == len(profile)
    for kept in (profile, largest(profile, 2), by_group(profile)):
        assert sum(kernel.microseconds for kernel in kept) == pytest.approx(
            sum(time for _, time, _ in events) / steps
        )
        assert sum(kernel.launches for kernel in kept) == pytest.approx(sum(n for *_, n in events) / steps)
    assert len(largest(profile, 2)) <= 3


def test_only_what_ran_on_the_gpu_is_counted() -> None:
    def event(name: str, device: str, microseconds: float, marked: bool = False) -> FunctionEvent:
        kind = getattr(torch.autograd.DeviceType, device)
        return FunctionEvent(
            0, name, 0, 10.0, 10.0 + microseconds, device_type=kind, is_user_annotation=marked
        )

    events = [
        event("cudaGraphLaunch", "CPU", 50.0),
        event("adam", "CUDA", 3.0),
        event("step 1", "CUDA", 99.0, marked=True),
        event("Memset (Device)", "CUDA", 1.0),
    ]
    assert device_events(events) == [("adam", 3.0, 1), ("Memset (Device)", 1.0, 1)]


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("ampere_sgemm_128x64_nn", "matrix products"),
        ("sm90_xmma_gemm_f32f32_tf32f32_f32_tn_n_tilesize64x64x32_cublas", "matrix products"),
        (
            "void cutlass::Kernel2<cutlass_80_tensorop_s1688gemm_128x64_16x6_nn_align4>(Params)",
            "matrix products",
        ),
        ("void at::native::vectorized_elementwise_kernel<4, at::native::AddFunctor>(int)", "elementwise"),
        ("void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float>>(ReduceOp)", "sums"),
        ("Memcpy DtoD (Device -> Device)", "copies and fills"),
        ("Memset (Device)", "copies and fills"),
        ("_attention_backward", "attention"),
        ("_norm_backward", "norms"),
        ("_bias_gelu_gradient", "activations"),
        ("adam", "clip and Adam"),
        ("sum_squares", "clip and Adam"),
        ("_draw", "draws"),
        ("void selective_scan_fwd_kernel<Traits>(SSMParamsBase)", "selective scan"),
        ("void causal_conv1d_bwd_kernel<Traits>(ConvParamsBwd)", "convolution"),
        ("nothing known", "other"),
    ],
)
def test_names_tell_what_kernels_are(name: str, group: str) -> None:
    assert group_of(name) == group


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("void at::native::kernel<4, Functor<float, int>>(int, Array<char*, 2>)", "at::native::kernel"),
        ("_draw", "_draw"),
        ("<int>", "(no name)"),
    ],
)
def test_kernels_names_are_shortened(name: str, short: str) -> None:
    assert short_name(name) == short


@settings(max_examples=50)
@given(st.text())
def test_no_name_is_too_long_for_a_table(name: str) -> None:
    assert 0 < len(short_name(name)) <= LONGEST_NAME


def test_a_profile_becomes_a_picture(tmp_path: Path) -> None:
    profile = tuple(KernelTime(f"kernel {k}", f"group {k % 3}", 100.0 - k, 1.0) for k in range(30))
    draw(replace(row_of(), profile=profile), "a device", tmp_path / "new" / "x.png")
    assert (tmp_path / "new" / "x.png").read_bytes().startswith(b"\x89PNG")


# Records


def row_of(stack: int = 1, ms: float | None = 2.0, **fields: Any) -> Row:
    run = tiny()
    row = Row(shape_of(run), run.task.name, run.size.heads, stack, "sequential", flops_per_step(run), ms)
    return replace(row, **fields)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    profile = (KernelTime("a", "b", 1.5, 2.0),)
    rows = (row_of(profile=profile, commit="c"), row_of(4, None, failure="out of memory"), row_of(16, 8.0))
    record = Record(
        "NVIDIA H100 80GB HBM3", "gpu", 81_000, "2.13", "c", False, "today", 3e12, {"fp32": 1e9}, rows,
        ({"program": "jax", "ms_per_step": 1.0},),
    )  # fmt: skip
    path = records.path_of(tmp_path, record.device)
    assert path == tmp_path / ".state/speed/nvidia-h100-80gb-hbm3.json"
    records.store(path, record)
    assert records.of_device(tmp_path, record.device) == record
    problems: list[str] = []
    assert records.load(tmp_path, problems) == [record]
    assert problems == []
    assert records.of_device(tmp_path, "NVIDIA H100-80GB HBM3") is None, (
        "another device of the same file name"
    )
    stored = json.loads(path.read_text())
    assert (stored["format"], stored["kind"]) == (1, "speed")
    alone, failed, stack = stored["rows"]
    assert (alone["stack_gain"], failed["stack_gain"], stack["stack_gain"]) == (1.0, None, 4.0)
    assert (failed["ms_per_member"], stack["ms_per_member"]) == (None, 0.5)
    per_second = 16 * rows[0].flops_per_step / 8e-3
    assert stack["flops_per_second"] == pytest.approx(per_second)
    assert stack["product_fraction"] == pytest.approx(per_second / 1e9)
    assert pools.load(tmp_path).problems == [], "a record is no result"


def test_a_new_measurement_replaces_its_like_and_keeps_the_rest() -> None:
    older = Record(
        "d", "cpu", product_flops_per_second={"fp32": 1.0, "tf32": 2.0}, rows=(row_of(), row_of(4))
    )
    newer = Record("d", "cpu", product_flops_per_second={"fp32": 3.0}, rows=(row_of(ms=9.0), row_of(2)))
    merged = newer.with_older(older)
    assert {row.stack: row.ms_per_step for row in merged.rows} == {1: 9.0, 2: 2.0, 4: 2.0}
    assert merged.product_flops_per_second == {"fp32": 3.0, "tf32": 2.0}
    assert newer.with_older(None) == newer
    assert newer.with_older(replace(older, device="another")) == newer


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "run"}, "is not a record of bench speed"),
        ({"format": 2}, "has format 2, this version of bench reads 1"),
        ({"rows": [{}]}, "is not a whole record (KeyError"),
        ({"rows": None}, "is not a whole record (TypeError"),
    ],
)
def test_a_record_that_cannot_be_used_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = records.path_of(tmp_path, "d")
    records.store(path, Record("d", "cpu", rows=(row_of(),)))
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    problems: list[str] = []
    assert records.load(tmp_path, problems) == []
    assert records.of_device(tmp_path, "d") is None
    (problem,) = problems
    assert message in problem
    assert str(path) in problem


@pytest.mark.parametrize("ms", [0.0, -1.0, math.inf])
def test_times_that_cannot_be_are_refused(ms: float) -> None:
    with pytest.raises(ValueError, match="ms_per_step"):
        Row.of({**row_of().plain(), "ms_per_step": ms})


TIMES = st.dictionaries(st.sampled_from([1, 2, 4, 8, 16]), st.floats(1e-3, 1e3), max_size=5)


@given(TIMES)
def test_the_best_stack_is_the_smallest_within_five_percent(times: dict[int, float]) -> None:
    rows = tuple(row_of(stack, ms) for stack, ms in times.items())
    best = Record("d", "gpu", rows=(*rows, row_of(32, None))).best_stack(
        rows[0].shape if rows else row_of().shape
    )
    if len(times) < 2:
        assert best is None
        return
    per_member = {stack: ms / stack for stack, ms in times.items()}
    assert best in times
    assert per_member[best] <= 1.05 * min(per_member.values())
    assert all(per_member[stack] > 1.05 * min(per_member.values()) for stack in times if stack < best)


# The command


@pytest.mark.slow
def test_the_command_measures_stores_and_prints(tmp_path: Path) -> None:
    options = ("--architectures", "transformer", "--sizes", "1x8", "--stacks", "1,2")
    found = as_json(bench("speed", *options, "--json", cwd=tmp_path))
    assert [(row["stack"], row["precision"], row["failure"]) for row in found["rows"]] == [
        (1, "fp32", None),
        (2, "fp32", None),
    ]
    assert found["rows"][1]["stack_gain"] == pytest.approx(
        found["rows"][0]["ms_per_step"] / found["rows"][1]["ms_per_member"]
    )
    (path,) = (tmp_path / "results/.state/speed").iterdir()
    assert json.loads(path.read_text()) == found
    assert {"device", "torch", "commit", "date", "rows"} <= found.keys()


@pytest.mark.slow
def test_the_command_takes_a_suite_draws_profiles_and_says_that_this_is_a_processor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = tmp_path / "tiny.yaml"
    suite.write_text(SUITE)
    record = tmp_path / "out" / "speed.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KINETO_LOG_LEVEL", "99")
        show_speed(
            Grid(stacks=(1,)),
            SpeedOptions(SuiteChoice.of(suite), tmp_path / "results", record, True, None, False),
        )
    printed = capsys.readouterr().out
    assert "a processor" in printed.splitlines()[0]
    assert "by group, then by kernel" in " ".join(printed.split())
    assert f"Stored: {record}" in printed
    assert not (tmp_path / "results").exists()
    (row,) = records.read(record).rows
    assert (row.shape.length, row.shape.batch_size) == (6, 2)
    assert (record.parent / f"speed-{row.label}.png").exists()


SUITE = """
name: tiny
experiments:
  tiny:
    tasks: [{name: linear_regression, n_dims: 2, n_points: 3}]
    architectures: [transformer]
    sizes: [{layers: 1, width: 8, heads: 2}]
    learning_rates: [1e-3, 2e-3]
    batch_size: 2
    steps: 20
"""


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU has tf32")
def test_tf32_on_a_processor_is_refused(tmp_path: Path) -> None:
    done = bench("speed", "--precisions", "tf32", cwd=tmp_path)
    said(done, 2)
    assert "only fp32 can be timed here" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--peer", "tensorflow"), "--peer tensorflow, expected one of: jax"),
        (("--stacks", "1,two"), "--stacks two: expected whole numbers"),
        (("nowhere.yaml",), "nowhere.yaml"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(
    tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    done = bench("speed", *options, cwd=tmp_path)
    assert done.returncode in (2, 3)
    assert message in done.stderr


# The peer


def test_without_jax_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "jax" else find_spec(name))
    with pytest.raises(UserError, match="pip install"):
        show_speed(Grid(), SpeedOptions(None, tmp_path, None, False, "jax", True))


PEER = """
import jax, numpy, sys, torch
from bench.speed import peer_jax as peer
from bench.speed.cases import runs_of, Grid
from bench.train.state import initial_state
from bench.stack import Stack
from bench.tasks.draws import Draws

(run,) = runs_of(Grid(("transformer",), ("2x16",), None, ("fp32",)))
state = initial_state(Stack.of(run), torch.device("cpu"), "sequential")
model = state.model
array = lambda tensor: jax.numpy.asarray(tensor.detach().numpy().copy())
linear = lambda module: {"w": array(module.weight.T), "b": array(module.bias)}
norm = lambda module: {"scale": array(module.weight), "shift": array(module.bias)}
blocks = [
    {"norm_1": norm(model.norms[2 * k]), "norm_2": norm(model.norms[2 * k + 1]),
     "qkv": linear(model.blocks[2 * k].qkv), "out": linear(model.blocks[2 * k].out),
     "up": linear(model.blocks[2 * k + 1].up), "down": linear(model.blocks[2 * k + 1].down)}
    for k in range(2)
]
params = {"read_in": linear(model.read_in), "positions": array(model.positions), "blocks": blocks,
          "norm": norm(model.final_norm), "read_out": linear(model.read_out)}
shapes = lambda tree: jax.tree_util.tree_map(lambda leaf: leaf.shape, tree)
assert shapes(params) == shapes(peer.initial(run, jax.random.PRNGKey(0)))
size = sum(leaf.size for leaf in jax.tree_util.tree_leaves(params))
assert size == run.parameters, (size, run.parameters)

prompts = run.task.sample(Draws(0, "train", torch.zeros((), dtype=torch.int64)), 3)
tokens, targets = array(prompts.tokens), array(prompts.targets)
ours = model(prompts.tokens).detach().numpy()
numpy.testing.assert_allclose(peer.forward(params, tokens, run.size.heads), ours, atol=1e-5)

zeros = jax.tree_util.tree_map(jax.numpy.zeros_like, params)
after, _, _, loss = peer.update(params, zeros, zeros, run.learning_rate, tokens, targets, 1, run)
losses = run.task.losses(model(prompts.tokens), prompts).mean()
numpy.testing.assert_allclose(loss, losses.detach(), rtol=1e-5)
gradients = torch.autograd.grad(losses, state.parameters.leaves)
state.optimizer(list(gradients), losses.detach().view(1))
moved = numpy.abs(after["read_in"]["w"] - params["read_in"]["w"]).max()
assert moved > 0.9 * run.learning_rate
numpy.testing.assert_allclose(after["read_in"]["w"], model.read_in.weight.detach().numpy().T, atol=1e-6)
numpy.testing.assert_allclose(
    after["blocks"][1]["down"]["w"], model.blocks[3].down.weight.detach().numpy().T, atol=1e-6
)

train, first = peer.program(run, 8, 2)
_, losses = train(first)
assert losses.shape == (2, 2, 4)
assert len(set(numpy.asarray(losses[0, :, 0]).tolist())) == 2, "seeds have prompts of their own"
row = peer.measure(run, 1)
assert row["failure"] is None and row["ms_per_step"] > 0, row
"""


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
def test_the_peer_computes_the_same_model_loss_and_update() -> None:
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
    }
    done = subprocess.run(
        [sys.executable, "-c", PEER], capture_output=True, text=True, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stderr
