"""Architectures and tasks of a user's own, from files and installed packages, in commands and workers."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import jsonschema
import pytest
import torch
from averaging import AVERAGE
from command import ROOT, bench

from bench import plugins
from bench import results as pools
from bench import suite as suites
from bench.api import count_flops
from bench.dispatch.plugin_checks import NotComparable, check_plugins
from bench.errors import InvalidFile, UserError
from bench.models.architectures import ARCHITECTURES
from bench.models.backbone import Model
from bench.models.blocks import Block
from bench.models.mixers.block import count_parameters
from bench.models.sizes import Size
from bench.models.verification import fault
from bench.report.data.provenance import summarise
from bench.results import RunRecord
from bench.strict_yaml.document import read
from bench.tasks import TASKS
from bench.train import Interrupted
from bench.train.loop import Progress, TrainingOptions, train

CPU = torch.device("cpu")

SUITE = """\
name: mine
experiments:
  small:
    tasks: [{name: TASK, n_dims: 2, n_points: 4}]
    architectures: [ARCHITECTURE]
    sizes: [{layers: 1, width: 8, heads: 2}]
    learning_rates: [1e-3]
    batch_size: 4
    steps: 5
    evaluation_prompts: 8
"""

NOISY = """\
from typing import Literal

from bench.tasks.regression import LinearRegression


class NoisyRegression(LinearRegression):
    name: Literal["noisy_regression"] = "noisy_regression"
    noise: float = 0.5

    def evaluate(self, inputs, draws, n_dims):
        noise = draws.normal("noise", inputs.shape[0], self.n_points)
        return super().evaluate(inputs, draws, n_dims) + self.noise * noise
"""

REQUIRED = """\
from typing import Literal

from bench.tasks.in_context import InContext


class Mine(InContext):
    name: Literal["mine"] = "mine"

    def evaluate(self, inputs, draws, n_dims):
        return inputs.sum(dim=2)

    def baselines(self, prompts):
        return []

"""


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """Loading is for a process: what a test loads is gone after it."""
    kept = dict(ARCHITECTURES), dict(TASKS), dict(plugins._files), dict(plugins._origins)
    places: tuple[dict[Any, Any], ...] = (ARCHITECTURES, TASKS, plugins._files, plugins._origins)
    yield
    for place, values in zip(places, kept, strict=True):
        place.clear()
        place.update(values)


def plugin(folder: Path, source: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(source, encoding="utf-8")
    return path


def suite_file(folder: Path, architecture: str = "averaging", task: str = "linear_regression") -> Path:
    path = folder / "suite.yaml"
    path.write_text(SUITE.replace("ARCHITECTURE", architecture).replace("TASK", task), encoding="utf-8")
    return path


def printed(*arguments: object, cwd: Path, code: int = 0, **environment: str) -> str:
    """What a command printed, errors included; it ends with `code`."""
    done = bench(*arguments, cwd=cwd, **environment)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def results_of(folder: Path) -> list[RunRecord]:
    pool = pools.load(folder / "results")
    assert pool.problems == []
    return list(pool.runs.values())


# --- the example -------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_example_plugin_trains_in_its_suite_beside_the_papers_architectures(tmp_path: Path) -> None:
    """Both files, with 5 steps and 16 prompts, through `bench run --plugin`; then what reports tell."""
    example = ROOT / "suites/plugins"
    path = plugin(tmp_path, (example / "gated_linear_attention.py").read_text("utf-8"), "gla.py")
    text = (example / "gated_linear_attention.yaml").read_text("utf-8")
    assert "steps: 1000\n    checkpoints: [300, 600]\n" in text
    suite = tmp_path / "suite.yaml"
    assert "evaluation_prompts: 640\n" in text
    text = text.replace("evaluation_prompts: 640\n", "evaluation_prompts: 16\n")
    suite.write_text(text.replace("steps: 1000\n    checkpoints: [300, 600]\n", "steps: 5\n"), "utf-8")
    said = printed("run", "suite.yaml", "--plugin", "gla.py", "--device", "cpu", "--workers", 1, cwd=tmp_path)
    assert "Done: 3 finished." in said
    assert "Next: bench report suite.yaml --plugin gla.py" in said

    origin = {
        "architecture": "simple_gla",
        "file": "gla.py",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    by_name = {result.run.architecture.name: result for result in results_of(tmp_path)}
    assert by_name.keys() == {"simple_gla", "simple_gla+heads=2", "mamba"}
    for name, result in by_name.items():
        assert result.provenance.plugins == (None if name == "mamba" else [origin])
        losses = result.curve.loss
        assert len(losses) == 5
        assert all(0 < loss < 100 for loss in losses)

    plugins.load([path])
    runs = suites.load(suite).runs
    summary = summarise(pools.load(tmp_path / "results"), [run.id for run in runs], {})
    source = f"architecture simple_gla: gla.py, SHA-256 {origin['sha256'][:12]}"
    assert dict(summary.rows)["plugins"] == [(source, 2)]

    (gla, other, _) = (run.architecture for run in runs)
    assert (gla.name, other.name) == ("simple_gla", "simple_gla+heads=2")
    assert fault(gla, Size(layers=2, width=16, heads=None), 24, CPU, "sequential") is None
    for architecture, heads in ((gla, 4), (other, 2)):
        D = 32
        attention = (3 * D * D + 3 * D) + (D * heads + heads) + (D * D + D) + 2 * D
        mlp = (4 * D * D + 4 * D) + (4 * D * D + D) + 2 * D
        assert architecture.parameters(3, D) == 3 * (attention + mlp) + 2 * D
        assert by_name[architecture.name].facts.table_parameters == architecture.parameters(2, D)


def test_the_example_shares_its_mamba_run_with_the_quick_suite() -> None:
    example = ROOT / "suites/plugins"
    plugins.load([example / "gated_linear_attention.py"])
    runs = suites.load(example / "gated_linear_attention.yaml").runs
    quick = {run.id for run in suites.load(ROOT / "suites/quick.yaml").runs}
    assert [run.architecture.name for run in runs if run.id in quick] == ["mamba"]


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1\n\ny = nothing\n", "{file}:3: NameError: name 'nothing' is not defined"),
        ("import missing_package\n", "{file}:1: ModuleNotFoundError: No module named"),
        ("def broken(:\n    pass\n", "{file}:1:12: "),
        ("import sys\nsys.exit(3)\n", "{file}:2: SystemExit: 3"),
        (
            "class Silent(Exception):\n    def __str__(self):\n        raise OSError\n\n\nraise Silent\n",
            "{file}:6: Silent: its message cannot be shown (OSError)",
        ),
        ("x = 1\n", "{file}: defines no architecture and no task: assign an Architecture to a name"),
        ("\0", "{file}"),
        (
            AVERAGE.replace('name="averaging"', 'name="s4"'),
            "{file}:27: architecture 's4' exists already (of bench",
        ),
        (
            AVERAGE + "again = average.model_copy()\n",
            "{file}:28: architecture 'averaging' exists already (of {file}",
        ),
        (
            AVERAGE.replace('"averaging"', '"my model"'),
            "{file}:27: architecture: 'my model' is not made of letters",
        ),
        (AVERAGE.replace('"averaging"', '"a+b"'), "{file}:27: architecture: 'a+b' is not made of letters"),
        (
            AVERAGE.replace(", layer=(Average(),)", ""),
            "{file}:27: Architecture: layer: Field requ",
        ),
        (
            AVERAGE.replace("def build", "def make"),
            "{file}:27: TypeError: Can't instantiate abstr",
        ),
        (NOISY.replace("noisy_regression", "decision_tree"), "{file}:6: task 'decision_tree' exists already"),
        (
            'from bench.tasks.task import Task\n\n\nclass Mine(Task):\n    name: str = "mine"\n',
            "{file}:4: task 'mine' lacks baselines, length",
        ),
        (REQUIRED, "{file}:6: task 'mine' has no default for n_dims, n_points: give one, or"),
        (
            REQUIRED + "    example_fields = {'n_dims': 0, 'n_points': 9}\n",
            "{file}:6: task 'mine' cannot have its",
        ),
        (
            "from bench.tasks.parity import SparseParity\n\n\nclass Mine(SparseParity):\n    name: str\n",
            "{file}:4: a task needs a name",
        ),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_what(tmp_path: Path, source: str, message: str) -> None:
    path = plugin(tmp_path, source)
    before = set(sys.modules), dict(ARCHITECTURES), dict(TASKS)
    with pytest.raises(UserError) as caught:
        plugins.load([path])
    assert str(caught.value).startswith(message.format(file=path))
    assert "\n" not in str(caught.value)
    assert (dict(ARCHITECTURES), dict(TASKS)) == before[1:]
    assert not {name for name in set(sys.modules) - before[0] if name.startswith("bench_plugin")}


def test_a_plugin_is_all_or_nothing(tmp_path: Path) -> None:
    path = plugin(tmp_path, AVERAGE + 'other = average.model_copy(update={"name": "mamba"})\n')
    with pytest.raises(UserError, match=r"mine\.py:28: architecture 'mamba' exists already"):
        plugins.load([path])
    assert "averaging" not in ARCHITECTURES


def test_two_files_cannot_share_a_name_and_one_may_be_named_twice(tmp_path: Path) -> None:
    one, copy = plugin(tmp_path, AVERAGE, "one.py"), plugin(tmp_path, AVERAGE, "copy.py")
    plugins.load([one, one, copy])
    assert plugins.flags() == f" --plugin {one}"
    other = plugin(tmp_path, AVERAGE + "x = 1\n", "other.py")
    with pytest.raises(
        UserError, match=r"other\.py:27: architecture 'averaging' exists already \(of .*one\.py\)"
    ):
        plugins.load([other])


def test_an_edited_file_needs_a_new_process(tmp_path: Path) -> None:
    plugins.load([plugin(tmp_path, AVERAGE)])
    with pytest.raises(UserError, match=r"an earlier version of this file: start a new Python process"):
        plugins.load([plugin(tmp_path, AVERAGE + "x = 1\n")])


def test_a_file_is_compiled_as_it_is_written(tmp_path: Path) -> None:
    """Annotations are values where the file does not ask for text: nothing of bench's own is inherited."""
    probe = (
        "\n\ndef double(x: int) -> int:\n    return 2 * x\n\n\nassert double.__annotations__['x'] is int\n"
    )
    plugins.load([plugin(tmp_path, AVERAGE + probe)])


def test_what_a_plugin_only_uses_is_not_its_own(tmp_path: Path) -> None:
    before = set(ARCHITECTURES)
    source = "from bench.models.architectures import ARCHITECTURES\n\nbase = ARCHITECTURES['mamba']\n"
    plugins.load([plugin(tmp_path, source + 'small = base.model_copy(update={"name": "small_mamba"})\n')])
    assert ARCHITECTURES.keys() - before == {"small_mamba"}
    assert ARCHITECTURES["small_mamba"].layer == ARCHITECTURES["mamba"].layer


@pytest.mark.slow
def test_commands_refuse_in_one_line_with_exit_code_2(tmp_path: Path) -> None:
    suite_file(tmp_path)
    said = printed("plan", "suite.yaml", "--plugin", "absent.py", cwd=tmp_path, code=2)
    assert said == "bench: --plugin absent.py: no such file or directory\n"
    plugin(tmp_path, AVERAGE.replace('name="averaging"', 'name="mamba"'))
    said = printed("schema", "--plugin", "mine.py", cwd=tmp_path, code=2)
    assert said.startswith("bench: mine.py:27: architecture 'mamba' exists already (of bench itself)")
    assert said.count("\n") == 1


def test_a_name_that_no_plugin_was_loaded_for_says_how_to_load_one(tmp_path: Path) -> None:
    hint = "unknown architecture 'averaging'.*one of your own is loaded by --plugin"
    with pytest.raises(InvalidFile, match=rf"{hint} FILE"):
        suites.load(suite_file(tmp_path))


@pytest.mark.parametrize(
    ("cost", "message"),
    [
        ("1 / 0", r"multiplications of block 'average' at 8 tokens and width 8: .*mine\.py:12: ZeroDiv"),
        ("L * D / 2", r"multiplications of block 'average' must be a whole number, got 32\.0"),
        ("-1", r"multiplications of block 'average' must be a whole number, got -1"),
    ],
)
def test_a_cost_that_cannot_be_counted_is_refused_where_the_suite_asks_for_it(
    tmp_path: Path, cost: str, message: str
) -> None:
    plugins.load([plugin(tmp_path, AVERAGE.replace("L * D**2", cost))])
    with pytest.raises(InvalidFile, match=r"suite\.yaml:5:21: architecture: " + message):
        suites.load(suite_file(tmp_path))


@pytest.mark.parametrize(
    ("method", "fault"),
    [
        ("multiplications(self, L, D)", "multiplications of block 'average' at "),
        ("state_numbers(self, L, D)", "state_numbers of block 'average' at "),
        ("parameters(self, D)", "parameters of block 'average' at "),
        ("width_fault(self, D)", "block 'average' cannot be 8 wide: "),
        ("build(self, place)", "block 'average' cannot be built at width 8: "),
    ],
)
def test_a_method_of_a_block_that_fails_ends_no_list_and_is_named(
    tmp_path: Path, method: str, fault: str
) -> None:
    failing = f"\n    def {method}:\n        raise KeyError('mine')\n\n\nclass Module"
    path = plugin(tmp_path, AVERAGE.replace("\n\nclass Module", failing))
    options = ("--size", "1x8", "--plugin", path)
    facts = json.loads(printed("architectures", *options, "--json", cwd=tmp_path))
    assert facts["averaging"]["costs"] == []
    (named,) = facts["averaging"]["faults"]
    assert named.startswith(fault)
    assert "mine.py" in named
    assert len(facts["mamba"]["costs"]) == 1
    assert facts["mamba"]["faults"] == []
    shown = printed("architectures", *options, cwd=tmp_path, COLUMNS="300")
    assert (f"–: averaging: {named}" in shown) != (method == "width_fault(self, D)")  # it may be a misfit
    plugins.load([path])
    with pytest.raises(UserError, match=fault):
        _ = [run.parameters for run in suites.load(suite_file(tmp_path)).runs]


def test_a_state_that_is_no_number_is_refused_and_one_that_is_not_stated_is_unknown(tmp_path: Path) -> None:
    stated = "\n\n    def state_numbers(self, L, D):\n        return L / 2\n\n    def build("
    plugins.load([plugin(tmp_path, AVERAGE.replace("\n\n    def build(", stated))])
    with pytest.raises(
        InvalidFile, match=r"architecture: state_numbers of block 'average' must be a whole number"
    ):
        suites.load(suite_file(tmp_path))
    assert Block.state_numbers(ARCHITECTURES["averaging"].layer[0], 5, 8) is None


@pytest.mark.parametrize(
    "field", ["what: Any = object()", "what: Any = float('nan')", "what: list[int] = []", "what: dict = {}"]
)
def test_settings_that_cannot_be_recorded_are_refused_when_loaded(tmp_path: Path, field: str) -> None:
    source = "from typing import Any\n" + AVERAGE.replace("window: int = 0", field)
    path = plugin(tmp_path, source)
    with pytest.raises(UserError, match=r"mine\.py:28: architecture 'averaging' cannot be recorded"):
        plugins.load([path])
    assert "averaging" not in ARCHITECTURES


def test_a_list_among_settings_is_refused_where_it_is_given(tmp_path: Path) -> None:
    source = "from typing import Any\n" + AVERAGE.replace("window: int = 0", "window: Any = 0")
    plugins.load([plugin(tmp_path, source + NOISY.replace("noise: float = 0.5", "noise: Any = 0.5"))])
    for names, message in (
        (("{name: averaging, window: [3]}",), "architecture 'averaging' cannot be recorded: .* no lists"),
        (("mamba", "noisy_regression, noise: [1]"), "task 'noisy_regression' cannot be recorded"),
    ):
        with pytest.raises(InvalidFile, match=rf"suite\.yaml:\d+:\d+: {message}"):
            suites.load(suite_file(tmp_path, *names))
    architecture = ARCHITECTURES["averaging"].with_options({"window": [3]})
    with pytest.raises(UserError, match=r"architecture 'averaging\+window=\[3\]' cannot be recorded"):
        count_flops("linear_regression", architecture, layers=1, width=8)


def test_an_option_that_becomes_something_else_is_refused_in_its_place(tmp_path: Path) -> None:
    source = "from typing import Any\nfrom pydantic import field_validator\n" + AVERAGE.replace(
        "    window: int = 0\n",
        "    window: Any = 0\n\n    @field_validator('window')\n    @classmethod\n"
        "    def _made(cls, value):\n        return object() if value else value\n",
    )
    plugins.load([plugin(tmp_path, source)])
    with pytest.raises(InvalidFile, match=r"suite\.yaml:5:39: window"):
        suites.load(suite_file(tmp_path, "{name: averaging, window: 3}"))


@pytest.mark.parametrize(
    ("name", "fault"), [("n" * 101, "a name has at most 100"), ("a/b", "is not made of letters")]
)
def test_a_name_that_fits_into_no_file_name_is_refused_when_loaded(
    tmp_path: Path, name: str, fault: str
) -> None:
    with pytest.raises(UserError, match=fault):
        plugins.load([plugin(tmp_path, AVERAGE.replace('name="averaging"', f'name="{name}"'))])


@pytest.mark.parametrize("text", ["a/b", "a b", "a,b", "é"])
def test_text_that_becomes_part_of_a_file_name_is_checked(tmp_path: Path, text: str) -> None:
    plugins.load([plugin(tmp_path, AVERAGE.replace("window: int = 0", 'window: str = "x"'))])
    with pytest.raises(InvalidFile, match=r"suite\.yaml:5:39: window: .*part of a file name"):
        suites.load(suite_file(tmp_path, f"{{name: averaging, window: '{text}'}}"))


@pytest.mark.slow
def test_a_module_that_cannot_be_built_at_a_width_is_named_while_planning(tmp_path: Path) -> None:
    plugin(
        tmp_path,
        AVERAGE.replace("        super()", "        assert width % 3 == 0, 'thirds'\n        super()"),
    )
    suite_file(tmp_path)
    said = printed("plan", "suite.yaml", "--plugin", "mine.py", cwd=tmp_path, code=2)
    assert said == "bench: block 'average' cannot be built at width 8: mine.py:20: AssertionError: thirds\n"


@pytest.mark.parametrize(
    ("built", "message"),
    [
        ("None", "cannot be built at width 8: TypeError: `build` returns NoneType instead of a torch"),
        ("nn.LazyLinear(place.width)", "cannot be built at width 8: ValueError: Attempted to use an uninit"),
    ],
)
def test_a_module_without_countable_parameters_is_refused(tmp_path: Path, built: str, message: str) -> None:
    plugins.load([plugin(tmp_path, AVERAGE.replace("Module(place.width)", built))])
    (run,) = suites.load(suite_file(tmp_path)).runs
    with pytest.raises(UserError, match=message):
        run.parameters  # noqa: B018 (the property counts)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (AVERAGE.replace("h.cumsum(1)", "h.flip(1).cumsum(1)"), "it is not causal: other tokens from"),
        (
            AVERAGE.replace("h.cumsum(1)", "h - h.mean(1, keepdim=True)"),
            "it is not causal: other tokens from",
        ),
        (AVERAGE.replace("h.cumsum(1)", "h * float('nan')"), "outputs are not finite when it is freshly"),
        (
            AVERAGE.replace(
                "    def build", "    def parameters(self, D):\n        return D\n\n    def build"
            ),
            "it states 81 parameters and has 145 (read-in and read-out included)",
        ),
        (
            AVERAGE.replace("self.mix(h.cumsum(1))", "self.mix(h.cumsum(1))[..., :1]"),  # can be added
            "block 'average' returns (2, 20, 1) instead of (2, 20, 8)",
        ),
        (
            AVERAGE.replace("self.mix(h.cumsum(1))", "self.mix(h.cumsum(1)).double()"),
            "block 'average' returns torch.float64 instead of torch.float32",
        ),
        (
            AVERAGE.replace("self.mix(h.cumsum(1))", "self.mix(h.cumsum(1)), h"),
            "block 'average' returns tuple instead of a tensor",
        ),
    ],
)
def test_what_cannot_be_compared_is_not_trained(tmp_path: Path, source: str, message: str) -> None:
    plugins.load([plugin(tmp_path, source)])
    found = fault(ARCHITECTURES["averaging"], Size(layers=1, width=8, heads=None), 20, CPU, "sequential")
    assert found is not None
    assert found.startswith(message)


FACTS = """
    @property
    def FACT(self):
        return VALUE
"""


@pytest.mark.parametrize(
    ("fact", "value", "message"),
    [
        ("error_scale", "0.0", "error_scale: input should be greater than 0, not 0.0"),
        ("trivial", "float('nan')", "trivial: input should be a finite number, not nan"),
        ("metric", "'accuracy'", "trivial: the accuracy of a predictor that has learned nothing is below 1"),
        ("metric", "'fun'", "metric: input should be 'squared_error', 'accuracy'"),
        ("trivial", "1 // 0", r".*mine\.py:16: ZeroDivisionError"),
        ("n_inputs", "1 // 0", r".*mine\.py:16: ZeroDivisionError"),
    ],
)
def test_a_task_whose_results_could_not_be_stored_is_refused_when_loaded(
    tmp_path: Path, fact: str, value: str, message: str
) -> None:
    source = NOISY + FACTS.replace("FACT", fact).replace("VALUE", value)
    with pytest.raises(UserError, match=rf"mine\.py:6: task 'noisy_regression': {message}"):
        plugins.load([plugin(tmp_path, source)])


def test_a_task_that_draws_other_prompts_each_time_is_refused_before_training(tmp_path: Path) -> None:
    source = "import torch\n" + NOISY.replace('draws.normal("noise", ', "torch.randn(")
    plugins.load([plugin(tmp_path, source)])
    (run,) = suites.load(suite_file(tmp_path, "mamba", "noisy_regression")).runs
    with pytest.raises(NotComparable, match="task 'noisy_regression': prompts of one seed differ"):
        check_plugins(run, "cpu", "sequential")


LENGTH = """
    def length(self, n_points):
        return 3 * n_points
"""
SAMPLE = """
    def sample(self, draws, batch, n_dims=None):
        prompts = super().sample(draws, batch, n_dims)
        return type(prompts)(prompts.tokens, prompts.targets[:, 1:], prompts.inputs)
"""


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (LENGTH, r"tokens of the shape \(2, 8, 2\), but `length` and `n_inputs` state \(2, 12, 2\)"),
        (SAMPLE, r"targets of the shape \(2, 3\), but n_points is 4"),
    ],
)
def test_a_task_whose_prompts_have_other_shapes_than_it_states_is_refused_before_training(
    tmp_path: Path, method: str, message: str
) -> None:
    plugins.load([plugin(tmp_path, NOISY + method)])
    (run,) = suites.load(suite_file(tmp_path, "mamba", "noisy_regression")).runs
    with pytest.raises(NotComparable, match=f"task 'noisy_regression': two prompts have {message}"):
        check_plugins(run, "cpu", "sequential")


def test_values_of_another_shape_than_one_per_input_are_named(tmp_path: Path) -> None:
    source = NOISY.replace("super().evaluate(inputs, draws, n_dims) + self.noise * noise", "inputs")
    plugins.load([plugin(tmp_path, source)])
    (run,) = suites.load(suite_file(tmp_path, "mamba", "noisy_regression")).runs
    with pytest.raises(ValueError, match=r"returns the shape \(2, 4, 2\), expected \(2, 4\): a value per"):
        check_plugins(run, "cpu", "sequential")


def test_a_task_whose_settings_spoil_its_results_is_refused_before_training(tmp_path: Path) -> None:
    source = NOISY + FACTS.replace("FACT", "error_scale").replace("VALUE", "1.0 - self.noise")
    plugins.load([plugin(tmp_path, source)])
    suite = suite_file(tmp_path, "mamba", "noisy_regression, noise: 2.0")
    (run,) = suites.load(suite).runs
    with pytest.raises(NotComparable, match="task 'noisy_regression': error_scale: input should be greater"):
        check_plugins(run, "cpu", "sequential")


AHEAD = {
    "at the end of every chunk of 16": """
        B, L, D = h.shape
        h = h.clone()
        h[:, 15:L - 1:16] = h[:, 15:L - 1:16] + h[:, 16::16][:, : len(range(15, L - 1, 16))]
        return self.mix(h)""",
    "at one place only": """
        h = h.clone()
        if h.shape[1] > 8:
            h[:, 7] = h[:, 7] + h[:, 8]
        return self.mix(h)""",
    "in the last chunk, which is shorter": """
        L = h.shape[1]
        if L % 2 == 0:
            return self.mix(h)
        return self.mix(torch.cat((h[:, :-3], h[:, -3:].mean(1, keepdim=True).expand(-1, 3, -1)), 1))""",
    "while it trains": """
        return self.mix(h + h.mean(1, keepdim=True) if self.training else h)""",
    "behind a gate that starts at zero": """
        return self.mix(h + self.mix.bias.sum() * h.roll(-1, 1))""",
    "without a gradient": """
        return self.mix(h + torch.sign(h.roll(-1, 1)).detach())""",
}


@pytest.mark.parametrize("where", AHEAD)
@pytest.mark.parametrize("length", [40, 33, 82])
def test_looking_ahead_anywhere_is_seen(tmp_path: Path, where: str, length: int) -> None:
    body = AHEAD[where].rstrip() + "\n"
    source = AVERAGE.replace("        return self.mix(h.cumsum(1))\n", body.lstrip("\n"))
    source = source.replace("from torch import nn", "import torch\nfrom torch import nn")
    zero = "        self.mix = nn.Linear(width, width)\n"
    source = source.replace(zero, zero + "        nn.init.zeros_(self.mix.bias)\n")
    plugins.load([plugin(tmp_path, source)])
    found = fault(ARCHITECTURES["averaging"], Size(layers=1, width=8, heads=None), length, CPU, "sequential")
    assert found is not None
    assert "not causal" in found


def test_dropout_is_no_look_ahead(tmp_path: Path) -> None:
    source = AVERAGE.replace(
        "return self.mix(h.cumsum(1))", "return nn.functional.dropout(h, 0.5, self.training)"
    )
    source = source.replace("self.mix = nn.Linear(width, width)", "self.mix = nn.Linear(width, width)")
    plugins.load([plugin(tmp_path, source)])
    state = torch.get_rng_state()
    found = fault(ARCHITECTURES["averaging"], Size(layers=2, width=8, heads=None), 50, CPU, "sequential")
    assert found is None
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.slow
def test_a_causal_model_passes_at_any_length(tmp_path: Path) -> None:
    plugins.load([plugin(tmp_path, AVERAGE)])
    for name in ("averaging", "mamba", "s4", "lstm", "transformer_no_positions"):
        for length in (1, 2, 3, 100):
            size = Size(layers=2, width=16).of(ARCHITECTURES[name])
            assert fault(ARCHITECTURES[name], size, length, CPU, "sequential") is None


WITH_HEADS = """\
from typing import ClassVar

from torch import nn

from bench.models.architecture import Architecture
from bench.models.blocks import Block, Mamba


class Mixer(Block):
    uses_heads: ClassVar[bool] = True

    name: str = "mixer"

    def multiplications(self, L, D):
        return L * D**2

    def build(self, place):
        module = nn.Linear(place.width, place.width)
        module.place = place
        return module


mixers = Architecture(name="mixers", first=(Mixer(),), layer=(Mamba(), Mixer()))
"""


def test_a_block_that_uses_heads_gets_those_of_the_suite_and_its_own_index(tmp_path: Path) -> None:
    plugins.load([plugin(tmp_path, WITH_HEADS)])
    mixers = ARCHITECTURES["mixers"]
    (run,) = suites.load(suite_file(tmp_path, "mixers")).runs
    assert run.size.heads == 2
    model = Model(mixers, run.size, n_inputs=3, n_outputs=1, length=4)
    assert [block.place.heads for block in model.blocks[::2]] == [2, 2]
    size = run.size.model_copy(update={"layers": 3})
    model = Model(mixers, size, n_inputs=3, n_outputs=1, length=4)
    assert [block.place.index for block in model.blocks[::2]] == [0, 2, 4, 6]
    assert {block.place.blocks for block in model.blocks[::2]} == {6}


def test_a_width_that_the_heads_of_a_block_do_not_divide_is_refused(tmp_path: Path) -> None:
    plugins.load([plugin(tmp_path, WITH_HEADS)])
    file = suite_file(tmp_path, "mixers")
    file.write_text(file.read_text().replace("heads: 2", "heads: 3"))
    with pytest.raises(InvalidFile, match="width 8 is not divisible by 3 heads"):
        suites.load(file)


@pytest.fixture(scope="module")
def one_refused(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder and what `bench run` printed there: a task of one's own, and a model that looks ahead."""
    folder = tmp_path_factory.mktemp("one_refused")
    plugin(folder, AVERAGE.replace("h.cumsum(1)", "h.flip(1).cumsum(1)"))
    plugin(folder, NOISY, "noisy.py")
    suite_file(folder, "averaging, transformer", "noisy_regression")
    options = ("run", "suite.yaml", "--device", "cpu", "--workers", 1)
    return folder, printed(*options, cwd=folder, code=1, BENCH_PLUGINS=f"mine.py{os.pathsep}noisy.py")


@pytest.mark.slow
def test_a_refused_model_fails_and_others_go_on(one_refused: tuple[Path, str]) -> None:
    _, said = one_refused
    assert "Done: 1 finished, 1 failed." in said
    assert "failed: NotComparable: architecture 'averaging': it is not causal" in said
    assert "bench run suite.yaml --plugin mine.py --plugin noisy.py --retry failed" in said


# --- workers, tasks, packages ------------------------------------------------------------------


@pytest.mark.slow
def test_a_task_of_ones_own_trains_and_says_where_it_came_from(one_refused: tuple[Path, str]) -> None:
    folder, _ = one_refused
    origin = {
        "task": "noisy_regression",
        "file": "noisy.py",
        "sha256": hashlib.sha256((folder / "noisy.py").read_bytes()).hexdigest(),
    }
    pool = pools.load(folder / "results")
    (result,), (baselines,) = pool.runs.values(), pool.baselines.values()
    assert result.provenance.plugins == baselines.provenance.plugins == [origin]
    stored = json.loads(pool.paths["run", result.id].read_bytes())
    assert stored["run"]["task"]["noise"] == 0.5
    least_squares = next(each for each in baselines.baselines if each.name == "least squares")
    assert min(least_squares.mean) > 0.1, "without noise it would be exact from two examples on"


UNPACK = """
import os, pickle, sys
import torch  # once for both
for parcel in pickle.load(sys.stdin.buffer):
    if os.fork():
        os.wait()
        continue
    run = pickle.loads(parcel)["jobs"][0]
    from bench import plugins
    sha256 = plugins.origins(run.task, run.architecture)[0]["sha256"]
    print(run.id, run.architecture.parameters(1, 8), sha256, flush=True)
    os._exit(0)
"""


@pytest.mark.slow
def test_work_travels_with_the_source_that_was_planned(tmp_path: Path) -> None:
    """As part of something larger too, and by the pickle that submitit uses."""
    path = plugin(tmp_path, AVERAGE)
    plugins.load([path])
    (run,) = suites.load(suite_file(tmp_path)).runs
    parcels = [dumps({"jobs": plugins.carried((run,))}) for dumps in (pickle.dumps, cloudpickle.dumps)]
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    expected = f"{run.id} {run.architecture.parameters(1, 8)} {sha256}"
    path.write_text("raise RuntimeError('edited since')\n")
    done = subprocess.run(
        [sys.executable, "-c", UNPACK],
        input=pickle.dumps(parcels),
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.decode().splitlines() == [expected] * 2
    for parcel in parcels:
        assert pickle.loads(parcel) == {"jobs": (run,)}, "and in the process that knows it already"


def test_results_of_another_version_are_pointed_out(tmp_path: Path) -> None:
    path = plugin(tmp_path, AVERAGE)
    plugins.load([path])
    (run,) = suites.load(suite_file(tmp_path)).runs
    here = plugins.origins(run.task, run.architecture)
    moved = [{**here[0], "file": "elsewhere/mine.py"}]
    assert plugins.outdated([here, moved, []]) == []
    (line,) = plugins.outdated([here, [{**here[0], "sha256": "0" * 64}]])
    assert line.startswith("1 of the results with architecture 'averaging' were made with another version of")


def test_raising_the_version_makes_new_runs(tmp_path: Path) -> None:
    plugins.load([plugin(tmp_path, AVERAGE)])
    (first,) = suites.load(suite_file(tmp_path)).runs
    changed = first.architecture.model_copy(update={"version": 2})
    assert first.model_copy(update={"architecture": changed}).identity() != first.identity()


def install(folder: Path, source: str, entry_points: str) -> dict[str, str]:
    """A package as pip leaves it in a folder of its own; what makes a process see it."""
    (folder / "site").mkdir()
    plugin(folder / "site", source, "averaging_package.py")
    info = folder / "site/averaging-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: averaging\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(entry_points)
    return {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder / 'site'}"}


@pytest.mark.slow
def test_an_installed_package_offers_its_architectures_and_tasks(tmp_path: Path) -> None:
    packages = install(
        tmp_path,
        AVERAGE + NOISY,
        "[bench.architectures]\naveraging = averaging_package:average\n\n"
        "[bench.tasks]\nnoisy_regression = averaging_package:NoisyRegression\n",
    )
    suite_file(tmp_path, task="noisy_regression")
    said = printed("run", "suite.yaml", "--device", "cpu", "--workers", 1, cwd=tmp_path, **packages)
    assert "Done: 1 finished." in said
    assert "Next: bench report suite.yaml\n" in said
    (result,) = results_of(tmp_path)
    package = {"distribution": "averaging", "version": "1.2"}
    assert result.provenance.plugins == [
        {"task": "noisy_regression", **package}, {"architecture": "averaging", **package},
    ]  # fmt: skip


@pytest.fixture
def loaded_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Installed packages are looked for again, in the folder of `install` too."""
    monkeypatch.syspath_prepend(tmp_path / "site")
    plugins.load_installed.cache_clear()
    yield
    plugins.load_installed.cache_clear()
    sys.modules.pop("averaging_package", None)


@pytest.mark.usefixtures("loaded_anew")
@pytest.mark.parametrize(
    ("source", "entry", "message"),
    [
        ("x = nothing\n", "averaging", "cannot be loaded: {site}/averaging_package.py:1: NameError: name"),
        ("average = 3\n", "averaging", "is not an Architecture"),
        (AVERAGE, "other_name", "is named 'averaging'; the entry point must have that name"),
        (
            AVERAGE.replace('name="averaging"', 'name="s4"'),
            "s4",
            "architecture 's4' exists already (of bench itself)",
        ),
    ],
)
def test_a_package_that_cannot_be_used_is_named_with_its_version(
    tmp_path: Path, source: str, entry: str, message: str
) -> None:
    entries = f"[bench.architectures]\n{entry} = averaging_package:average\n"
    install(tmp_path, source, entries)
    with pytest.raises(UserError) as caught:
        plugins.load_installed()
    said = str(caught.value)
    assert said.startswith(f"averaging 1.2: entry point {entry} = averaging_package:average: ")
    assert message.format(site=tmp_path / "site") in said


def test_the_schema_knows_what_a_plugin_file_offers(tmp_path: Path) -> None:
    plugins.load([plugin(tmp_path, AVERAGE + NOISY)])
    schema = suites.json_schema()
    suite = suite_file(tmp_path, "{name: averaging, window: 3}", "noisy_regression")
    document = read(suite).data
    document["experiments"]["small"]["exclude"] = [{"architecture": "averaging", "task": "noisy_regression"}]
    jsonschema.validate(document, schema)
    for key, value in (("architecture", "average"), ("task", "noisy"), ("size", "huge")):
        document["experiments"]["small"]["exclude"] = [{key: value}]
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(document, schema)


def test_parameters_without_a_closed_form_are_counted_by_building_once(tmp_path: Path) -> None:
    plugins.load([plugin(tmp_path, AVERAGE)])
    (block,) = ARCHITECTURES["averaging"].layer
    assert type(block).parameters is Block.parameters
    assert block.parameters(8) == count_parameters(block, 8) == 8 * 8 + 8


def test_an_interrupted_run_starts_over_with_an_edited_plugin_and_resumes_with_the_same(
    tmp_path: Path,
) -> None:
    suite = suite_file(tmp_path)

    def resumed(source: str) -> int:
        """The step at which the training of the suite's run was stopped: one after that of its checkpoint."""
        ARCHITECTURES.pop("averaging", None)
        plugins._files.clear()
        plugins._origins.clear()
        plugins.load([plugin(tmp_path, source)])
        (run,) = suites.load(suite).runs
        version = plugins.version_of([(run.task, run.architecture)])
        steps: list[Progress] = []
        options = TrainingOptions(
            CPU, report=steps.append, asked_to_stop=lambda: len(steps) > 0, plugins=version
        )
        with pytest.raises(Interrupted):
            train(run, tmp_path / "state", options)
        return steps[0].step

    assert [resumed(AVERAGE), resumed(AVERAGE)] == [1, 2]
    assert resumed(AVERAGE.replace("h.cumsum(1)", "-h.cumsum(1)")) == 1
    (run,) = suites.load(suite_file(tmp_path, "mamba")).runs
    assert plugins.version_of([(run.task, run.architecture)]) == ""
