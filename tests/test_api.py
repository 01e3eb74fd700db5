"""The Python API: the page that shows it runs as it stands, and mistakes are answered with words."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import ROOT, said
from command import bench as bench_command

import bench
from bench import flops, results
from bench.dispatch.state import Folder
from bench.dispatch.status import run_status
from bench.models.architectures import ARCHITECTURES
from bench.results import read_run
from bench.run import Run
from bench.stack import Stack
from bench.suite import load as load_suite
from bench.train.loop import Progress
from bench.train.state import initial_state

PAGE = (ROOT / "bench/guide/api.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SMALL: dict[str, Any] = {"layers": 1, "width": 16, "heads": 4}
TASK: dict[str, Any] = {"n_dims": 3, "n_points": 5}


def small_run(**fields: Any) -> Run:
    usual = {**SMALL, "learning_rate": 2e-3, "steps": 4, "batch_size": 8, "evaluation_prompts": 16}
    return bench.make_run(bench.make_task("linear_regression", **TASK), "mamba", **{**usual, **fields})


# --- the page ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_page_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("safetensors")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in BLOCKS:
        exec(compile(block, "api.md", "exec"), names)
    assert names["prompts"].tokens.shape == (64, 16, 3)
    assert names["outputs"].shape == (64, 16, 1)
    assert names["errors"].shape == (64, 8)
    assert 0.5 < float(names["loss"].detach()) < 3
    assert names["cost"].parameters == sum(value.numel() for value in names["model"].parameters())
    assert names["trained"].result.finished
    assert names["results"]["id"].unique().tolist() == [names["run"].id]
    assert list(names["longer"].index) == list(range(8, 32))
    assert len(names["best"]) == 1
    assert names["stored"]["score"].tolist() == names["scores"].evaluations["report"].mean
    assert len(names["prompt_scores"]) == 128
    assert names["curves"]["step"].max() == 60
    prompts, loaded = names["prompts"], names["loaded"]
    assert torch.equal(loaded(prompts.tokens), names["trained"].model(prompts.tokens))


def test_the_page_shows_every_function() -> None:
    assert [name for name in bench.__all__ if f"bench.{name}" not in PAGE] == []


# --- names ------------------------------------------------------------------------------------


def test_no_submodule_has_the_name_of_a_function() -> None:
    assert {*bench.__all__} & {module.name for module in pkgutil.iter_modules(bench.__path__)} == set()
    for module in ("bench.api", "bench.run", "bench.results", "bench.train.weights"):
        importlib.import_module(module)
    assert all(callable(getattr(bench, name)) for name in bench.__all__)
    assert {*bench.__all__} <= {*dir(bench)}


def test_importing_bench_loads_nothing_heavy() -> None:
    script = "import sys, bench; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert {*done.stdout.split()} & {"torch", "pandas", "numpy", "pydantic"} == set()


@pytest.mark.slow
def test_counting_flops_loads_no_torch() -> None:
    script = (
        "import sys, bench; print(bench.count_flops('linear_regression', 's4', layers=2, width=64)); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


# --- what the functions return ----------------------------------------------------------------


def test_a_task_follows_the_protocol_unless_a_setting_decides() -> None:
    assert bench.make_task("sparse_parity").subset == "per_prompt"  # type: ignore[attr-defined]
    released = bench.make_task("sparse_parity", protocol="released_code")
    assert released.subset == "per_batch"  # type: ignore[attr-defined]
    own = bench.make_task("sparse_parity", protocol="released_code", subset="per_prompt")
    assert own.subset == "per_prompt"  # type: ignore[attr-defined]


def test_prompts_depend_on_the_seed_alone() -> None:
    task = bench.make_task("decision_tree", n_points=6)
    some, more = task.draw_prompts(3, seed=5), task.draw_prompts(8, seed=5)
    assert torch.equal(more.tokens[:3], some.tokens)
    assert not torch.equal(task.draw_prompts(3, seed=6).tokens, some.tokens)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_model_starts_as_a_run_of_the_same_seed_does(name: str) -> None:
    task = bench.make_task("linear_regression", **TASK)
    model = bench.make_model(name, **SMALL, task=task, seed=3)
    run = bench.make_run(task, name, **SMALL, seed=3, learning_rate=1e-3, steps=2)
    state = initial_state(Stack.of(run), torch.device("cpu"), "sequential")
    assert not model.training
    for (key, value), (twin, expected) in zip(
        model.state_dict().items(), state.model.state_dict().items(), strict=True
    ):
        assert key == twin
        assert torch.equal(value, expected)


def test_flops_are_those_of_the_run() -> None:
    cost = bench.count_flops("linear_regression", "transformer", layers=2, width=64, steps=10)
    architecture, task = ARCHITECTURES["transformer"], bench.make_task("linear_regression")
    assert cost.prompt_multiplications == flops.multiplications(architecture, 2, 64, 82)
    assert cost.training_flops_full_length == 6 * 64 * 10 * cost.prompt_multiplications
    assert cost.training_flops == flops.training_flops(architecture, 2, 64, task, 64, 10)


def test_a_run_is_that_of_a_suite_with_its_settings() -> None:
    planned = next(run for run in load_suite(ROOT / "suites/quick.yaml").runs if run.id == "32d31d30e810")
    task = bench.make_task("linear_regression", n_dims=3, n_points=8)
    run = bench.make_run(
        task, "mamba", layers=2, width=32, learning_rate=2e-3, steps=1000, batch_size=32,
        checkpoints=[300, 600], evaluation_prompts=640,
    )  # fmt: skip
    assert run == planned


def test_numbers_of_numpy_are_numbers() -> None:
    numbers = np.arange(10)
    task = bench.make_task("linear_regression", n_dims=numbers[3], n_points=numbers[5])
    run = small_run(learning_rate=np.float64(2e-3), steps=numbers[4], layers=numbers[1], seed=numbers[0])
    assert (task, run) == (bench.make_task("linear_regression", **TASK), small_run())
    assert run.id == small_run().id
    assert small_run(checkpoints=[numbers[2]]).checkpoints == (2, 4)
    warm = small_run(optimizer={"name": "adamw", "warmup_steps": numbers[1]})
    assert warm == small_run(optimizer={"name": "adamw", "warmup_steps": 1})


def test_type_checkers_see_every_name() -> None:
    (branch,) = [
        node for node in ast.parse(Path(bench.__file__).read_text()).body if isinstance(node, ast.If)
    ]
    seen = {(node.module, node.names[0].name) for node in branch.body if isinstance(node, ast.ImportFrom)}
    assert seen - {("typing", "Any")} == {
        (module, name) for module, names in bench._MODULES.items() for name in names
    }


def test_options_and_optimizers_are_taken_by_name() -> None:
    architecture = bench.make_architecture("s4_mamba", dropout=0.0)
    assert architecture.name == "s4_mamba+dropout=0.0"
    assert bench.make_architecture("s4_mamba+dropout=0.0") == architecture
    run = small_run(optimizer={"name": "adamw"}, steps=100_000)
    assert run.optimizer.name == "adamw"
    assert small_run(optimizer="adamw", steps=100_000).id == run.id


# --- mistakes ---------------------------------------------------------------------------------


SIZE = "layers=1, width=16"
RUN = f"make_run('linear_regression', 'mamba', {SIZE}, steps=9"
NEAR_TASK = "unknown task 'linear_regresion', did you mean 'linear_regression'?"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("make_task('linear_regresion')", NEAR_TASK),
        ("make_task('linear_regression', n_dim=3)", "unknown key 'n_dim', did you mean 'n_dims'?"),
        ("make_task('linear_regression', n_dims=0)", "n_dims: must be greater than 0, got 0"),
        ("make_task('linear_regression', n_dims='3')", "n_dims: expected a whole number, got '3'"),
        ("make_task('linear_regression', n_dims={3})", "settings must be text, numbers, lists and mappings"),
        ("make_task('linear_regression', n_dims=float('nan'))", "settings must be finite numbers"),
        ("make_architecture('s4', dropout=float('inf'))", "settings must be finite numbers"),
        ("make_task('sparse_parity', protocol='papers')", "unknown protocol 'papers', did you mean 'paper'?"),
        ("make_task('linear_regression').draw_prompts(0)", "count: expected a whole number of at least 1"),
        (f"make_model('mambo', {SIZE})", "unknown architecture 'mambo', did you mean 'mamba'?"),
        ("make_model('transformer', layers=1, width=20)", "width 20 is not divisible by 8 heads"),
        ("make_model('mamba', layers=0, width=16)", "layers: must be greater than 0, got 0"),
        (f"make_model('mamba', {SIZE}, kernels='trito')", "did you mean 'triton'?"),
        (f"make_model('mamba', {SIZE}, device='gpu')", "unknown device 'gpu'"),
        (f"make_model('mamba', {SIZE}, device=None)", "unknown device 'None'"),
        ("make_task('sparse_parity', protocol=numpy.arange(2))", "unknown protocol"),
        ("make_task('linear_regression').draw_prompts(True)", "count: expected a whole number"),
        (f"make_model('mamba', {SIZE}, device=10**400)", "expected cpu, cuda or cuda:0"),
        (f"make_model('mamba', {SIZE}, kernels=numpy.arange(2))", "unknown kernels"),
        ("make_architecture('s4', dropuot=0.1)", "unknown option 'dropuot', did you mean 'dropout'?"),
        (f"make_run('linear_regression', 'mamba', {SIZE}, learning_rate=1, steps='many')", "steps: expected"),
        (f"make_run('linear_regression', 'mamba', {SIZE}, learning_rate=1, steps={{}})", "steps: expected"),
        (f"{RUN}, learning_rate=1e-3, checkpoints=5)", "checkpoints: expected a list of steps, got 5"),
        (f"{RUN}, learning_rate=1e-3, checkpoints=[[1], 5])", "checkpoints: expected a list of steps"),
        (f"{RUN}, learning_rate=1e-3, checkpoints=[0])", "checkpoints: must be greater than 0, got 0"),
        (f"{RUN}, learning_rate=1e-3, checkpoints=[5, 3])", "checkpoints must rise"),
        (f"{RUN}, learning_rate=1e-3, checkpoints=['5'])", "checkpoints: expected a whole number, got '5'"),
        (f"{RUN}, learning_rate=1e-3, optimizer='adamw')", "optimizer: its warm-up of 50,000 steps"),
        (f"{RUN}, learning_rate=1e-3, sed=1)", "unknown setting 'sed', did you mean 'seed'?"),
        (f"{RUN}, learning_rate=-1)", "learning_rate: must be greater than 0, got -1"),
        (f"{RUN}, learning_rate=1e-3, optimizer='adan')", "unknown optimizer 'adan', did you mean 'adam"),
        (f"{RUN}, learning_rate=1e-3, precision='fp16')", "unknown value 'fp16'"),
        (f"{RUN}, learning_rate=1e-3, stop={{'every': 2}})", "missing key 'after_convergence'"),
        (f"count_flops('linear_regresion', 'mamba', {SIZE})", NEAR_TASK),
        ("load_results('nowhere')", "no such folder"),
        ("load_plugin('nowhere.py')", "nowhere.py"),
        ("load_plugin(None)", "file: expected the path of a Python file, got None"),
        ("load_model(3)", "which: expected the id of a run, or the path of its result file, got 3"),
        ("load_model('abc', None)", "results: expected the path of a folder of results, got None"),
        ("evaluate_model(None)", "which: expected the id of a run"),
        ("evaluate_model('abc', task=3)", "task: expected a task, its name, or None, got 3"),
        ("evaluate_model('abc', store='no')", "store: expected True or False, got 'no'"),
        ("train_run('x')", "run: expected a run, as bench.make_run returns it, got 'x'"),
    ],
)
def test_a_mistake_is_an_error_with_words(call: str, words: str) -> None:
    with pytest.raises(bench.UserError) as caught:
        eval(f"bench.{call}", {"bench": bench, "numpy": np})
    assert words in str(caught.value)


@pytest.mark.parametrize("name", [name for name in bench.__all__ if name.startswith("load_")])
@pytest.mark.parametrize("value", [None, 3, b"results", ["results"]])
def test_what_loads_refuses_what_is_no_path(name: str, value: object) -> None:
    with pytest.raises(bench.UserError, match=": expected the "):
        getattr(bench, name)(value)


WHOLE = ("layers", "width", "heads", "steps", "seed", "batch_size", "evaluation_prompts")


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name in WHOLE for value in ("16", True, 16.5, [16])]
    + [(name, value) for name in ("learning_rate", "clip") for value in ("16", True, None, [16])],
)
def test_a_number_of_a_run_is_as_strict_as_in_a_suite(name: str, value: object) -> None:
    usual: dict[str, Any] = {"layers": 1, "width": 16, "heads": 4, "steps": 16, "learning_rate": 1e-3}
    with pytest.raises(bench.UserError, match=f"^{name}: expected a (whole )?number, got "):
        bench.make_run("linear_regression", "transformer", **{**usual, name: value})


def test_numbers_of_a_stop_rule_are_as_strict_as_in_a_suite() -> None:
    with pytest.raises(bench.UserError, match="after_convergence: expected a whole number, got '5'"):
        bench.make_run(
            "sparse_parity", "mamba", **SMALL, learning_rate=1e-3, steps=9, stop={"after_convergence": "5"}
        )


def test_whole_numbers_may_be_written_as_powers_of_ten() -> None:
    assert small_run(steps=1e2, checkpoints=[5e1]).checkpoints == (50, 100)
    assert type(small_run(learning_rate=1).learning_rate) is float


def test_a_device_may_be_one_of_pytorch() -> None:
    model = bench.make_model("mamba", layers=1, width=16, device=torch.device("cpu", 0))  # type: ignore[arg-type]
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}


def test_a_mistyped_function_is_answered_with_the_nearest() -> None:
    with pytest.raises(AttributeError, match="did you mean 'load_results'"):
        _ = bench.load_result


# --- training ---------------------------------------------------------------------------------


def numbers(value: Any) -> str:
    return json.dumps({key: part for key, part in value.items() if key != "provenance"}, sort_keys=True)


def test_a_run_trains_without_leaving_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = torch.random.get_rng_state()
    seen = []
    trained = bench.train_run(small_run(), progress=lambda progress: seen.append(progress.step))
    assert trained.result.finished
    assert trained.result.provenance.device
    assert trained.model is not None
    assert not trained.model.training
    assert seen[-1] == 4
    assert list(tmp_path.iterdir()) == []
    assert torch.equal(torch.random.get_rng_state(), before)


def test_training_does_not_repeat_the_random_numbers_of_a_search() -> None:
    drawn = []
    for _ in range(3):
        drawn.append((np.random.uniform(), random.random(), torch.rand(()).item()))
        bench.train_run(small_run(steps=1))
    assert all(first != second for first, second in zip(*drawn[1:], strict=True))


def test_a_run_that_another_process_finished_meanwhile_is_not_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small_run()
    expected = bench.train_run(run, tmp_path).result
    answers = [None, expected]
    monkeypatch.setattr("bench.dispatch.alone.pools.load_run", lambda results, run: answers.pop(0))
    monkeypatch.setattr("bench.dispatch.alone._train", pytest.fail)
    assert bench.train_run(run, tmp_path).result == expected
    assert answers == []


@pytest.mark.slow
def test_a_result_is_that_of_the_command_and_is_not_trained_twice(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    run = small_run()
    suite = {
        "name": "tiny",
        "experiments": {
            "tiny": {
                "tasks": [{"name": "linear_regression", **TASK}], "architectures": ["mamba"],
                "sizes": [{"layers": 1, "width": 16}], "learning_rates": [2e-3], "steps": 4, "batch_size": 8,
                "evaluation_prompts": 16,
            }
        },
    }  # fmt: skip
    (tmp_path / "tiny.yaml").write_text(json.dumps(suite), encoding="utf-8")
    said(bench_command("run", "tiny.yaml", "--workers", 1, cwd=tmp_path))
    trained = bench.train_run(run, tmp_path / "own", keep_weights=True)
    path = results.path_of(tmp_path / "own", run)
    own, theirs = (
        json.loads(file.read_text()) for file in (path, results.path_of(tmp_path / "results", run))
    )
    assert numbers(own) == numbers(theirs)
    assert own["provenance"].keys() - {"weights"} <= theirs["provenance"].keys()
    assert read_run(own) == trained.result
    stamp = path.stat().st_mtime_ns
    again = bench.train_run(run, tmp_path / "own")
    assert path.stat().st_mtime_ns == stamp
    assert again.result == trained.result
    tokens = run.task.draw_prompts(2).tokens
    assert again.model is not None
    assert trained.model is not None
    assert torch.equal(again.model(tokens), trained.model(tokens))
    assert bench.train_run(run, tmp_path / "results").model is None  # its weights were not kept


def test_a_run_that_another_process_trains_is_refused(tmp_path: Path) -> None:
    run = small_run()
    with Folder.of(tmp_path, run.id).locked() as free:
        assert free
        with pytest.raises(bench.UserError, match=run.id):
            bench.train_run(run, tmp_path)


def test_a_run_in_training_shows_its_step_and_an_interrupted_one_is_not_running(tmp_path: Path) -> None:
    run, statuses = small_run(), []

    def look(progress: Progress) -> None:
        statuses.append((progress, run_status(run, tmp_path, results.Pool())))
        if progress.step == run.steps:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.train_run(run, tmp_path, progress=look)
    assert statuses
    for progress, status in statuses:
        assert (status.word, status.step, status.loss) == ("running", progress.step, progress.losses[0])
        assert status.steps_per_second == progress.steps_per_second
    assert run_status(run, tmp_path, results.Pool()).word == "missing"  # though this process lives on
    assert bench.train_run(run, tmp_path).result.finished
    assert not Folder.of(tmp_path, run.id).path.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"device": "cuda:99"}, "'cuda:99' does not exist"),
        ({"kernels": "trito"}, "did you mean 'triton'"),
        ({"keep_weights": True}, "needs a folder"),
        ({"keep_weights": "no"}, "keep_weights: expected True or False, got 'no'"),
        ({"progress": None}, "progress: expected a function of the progress, got None"),
        ({"results": 3}, "results: expected the path of a folder, or None, got 3"),
    ],
)
def test_what_cannot_train_is_refused_before_training(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(bench.UserError, match=words):
        bench.train_run(small_run(), **arguments)


def test_a_copy_of_a_run_is_checked_before_training() -> None:
    with pytest.raises(bench.UserError, match=r"checkpoints must rise and end at steps \(8\)"):
        bench.train_run(small_run().model_copy(update={"steps": 8}))
    with pytest.raises(bench.UserError, match="seed: expected a whole number, got '1'"):
        bench.train_run(small_run().model_copy(update={"seed": "1"}))
