"""The registry of kernels: a folder's declaration is all that others need, and what it lacks is said."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from command import ROOT

from bench.cli import doctor
from bench.errors import UserError
from bench.kernels import registry, self_test, speed
from bench.kernels.backends import BACKENDS, Backend

KERNELS = registry.kernels()
CPU = torch.device("cpu")
DECLARATION = '''
"""Twice and thrice: y = factor x, of shape (B, L, E)."""
from bench.kernels.inputs import normals
from bench.kernels.kernel import Kernel

KERNELS = (
    Kernel("twice", __name__, "twice", normals("x"), floats=3, floats_per_token=5),
    Kernel("thrice", __name__, "thrice", normals("x"), floats=3),
)
'''
FORMULAS = "def twice(x):\n    return 2 * x\n\n\ndef thrice(x):\n    return 3 * x\n"
SUMS = "def twice(x):\n    return x + x\n\n\ndef thrice(x):\n    return x + x + x\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A new folder of two kernels, with the one line in the registry."""
    path = tmp_path / "multiples"
    path.mkdir()
    for name, text in (("__init__", DECLARATION), ("reference", FORMULAS), ("sequential", SUMS)):
        (path / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "FOLDERS", (*registry.FOLDERS, "multiples"))
    yield path
    for name in [name for name in sys.modules if name.partition(".")[0] == "multiples"]:
        del sys.modules[name]


def names(module: str) -> set[str]:
    """What a module defines or imports at its top level; read, not imported: it may need a GPU's packages."""
    spec = importlib.util.find_spec(module)
    assert spec is not None, f"there is no module {module}"
    assert spec.origin is not None
    statements = ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body
    defined = {each.name for each in statements if isinstance(each, ast.FunctionDef | ast.ClassDef)}
    targets = [target for each in statements if isinstance(each, ast.Assign) for target in each.targets]
    inner = [
        name for target in targets for name in (target.elts if isinstance(target, ast.Tuple) else [target])
    ]
    imports = [each for each in statements if isinstance(each, ast.Import | ast.ImportFrom)]
    imported = {alias.asname or alias.name for each in imports for alias in each.names}
    return defined | imported | {name.id for name in inner if isinstance(name, ast.Name)}


@pytest.mark.parametrize("name", list(KERNELS))
def test_a_kernel_has_a_reference_and_code_for_every_backend_that_a_run_may_choose(name: str) -> None:
    kernel = KERNELS[name]
    assert kernel.folder in registry.FOLDERS
    assert "reference" in kernel.own_backends()
    assert kernel.places.keys() <= BACKENDS.keys()
    for backend in BACKENDS:
        module, colon, function = kernel.place(backend).partition(":")
        if colon:
            assert function in names(module), f"{module} has no function {function}"
        else:
            assert module in BACKENDS


@pytest.mark.parametrize("name", list(KERNELS))
def test_a_kernel_declares_all_that_its_test_and_its_timing_need(name: str) -> None:
    kernel = KERNELS[name]
    assert bool(kernel.draw) == (kernel.floats > 0) == (not kernel.trial)
    if kernel.trial:
        module, _, function = kernel.trial.partition(":")
        assert function in names(module)
        return
    inputs = kernel.inputs(3, batch=5, channels=8)
    assert inputs[0].shape[:2] == (5, 3)
    for value, again in zip(inputs, kernel.inputs(3, batch=5, channels=8), strict=True):
        assert torch.equal(value, again)
        assert value.dtype in (torch.float32, torch.int64)
        assert value.isfinite().all()


def test_no_two_kernels_have_one_name_and_all_are_listed() -> None:
    folders = {path.parent.name for path in (ROOT / "bench/kernels").glob("*/__init__.py")}
    declared = [kernel for name in registry.FOLDERS for kernel in importlib.import_module(name).KERNELS]
    assert len(declared) == len(KERNELS)
    listed = {name.removeprefix("bench.kernels.") for name in registry.FOLDERS}
    assert folders - listed == {"draws", "dropout"}  # parts of other kernels, and of tasks


def test_a_new_folder_and_one_line_are_a_kernel_for_all_commands(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert registry.kernels().keys() - KERNELS.keys() == {"twice", "thrice"}
    twice = registry.find("twice")
    assert twice.own_backends() == ("sequential", "reference")
    assert {name: twice.place(name) for name in ("reference", "sequential", "triton", "mamba_ssm")} == {
        "reference": "multiples.reference:twice",
        "sequential": "multiples.sequential:twice",
        "triton": "sequential",
        "mamba_ssm": "triton",
    }
    monkeypatch.setattr(registry, "FOLDERS", ("multiples",))  # the others take their time
    outcomes = self_test.self_test(CPU, ("reference", "sequential"), (5, 9))
    assert len(outcomes) == 8
    assert all(outcome.agrees for outcome in outcomes)
    assert doctor.examine(as_json=True) == 0
    tested = json.loads(capsys.readouterr().out)["self_test"]
    verdicts = {(test["kernel"], test["backend"]): test["verdict"] for test in tested}
    assert verdicts["twice", "sequential"] == verdicts["thrice", "reference"] == "agrees"
    assert speeds(monkeypatch) == {
        ("twice", "sequential"): 7.0,
        ("twice", speed.FLOOR): pytest.approx(4e6 * 64 * 9 * (3 * 8 + 5) / 1e12),
        ("thrice", "sequential"): 7.0,
        ("thrice", speed.FLOOR): pytest.approx(4e6 * 64 * 9 * 3 * 8 / 1e12),
    }


def speeds(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], float | None]:
    """What `bench doctor --speed` shows at one size, where a call takes 7 µs and a copy moves 1 TB/s."""

    def microseconds(function):  # type: ignore[no-untyped-def]
        function()
        return 7.0

    monkeypatch.setattr(speed, "microseconds", microseconds)
    monkeypatch.setattr(speed, "copy_bandwidth", lambda device: 1e12)
    monkeypatch.setattr(speed, "CHANNELS", (8,))
    monkeypatch.setattr(speed, "LENGTHS", (9,))
    return {(row.kernel, row.backend): row.microseconds for row in speed.measure(CPU)}


def test_a_wrong_kernel_in_a_new_folder_disagrees(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "sequential.py").write_text(SUMS.replace("x + x + x", "x + x"), encoding="utf-8")
    monkeypatch.setattr(registry, "FOLDERS", ("multiples",))
    outcomes = self_test.self_test(CPU, ("sequential",), (5,))
    assert {outcome.kernel: outcome.agrees for outcome in outcomes} == {"twice": True, "thrice": False}


def test_a_new_file_and_one_line_are_a_backend_of_all_kernels(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "shifts.py").write_text(SUMS, encoding="utf-8")
    monkeypatch.setitem(BACKENDS, "shifts", Backend(otherwise="sequential"))
    kernels = registry.kernels()
    own = {name for name, kernel in kernels.items() if "shifts" in kernel.own_backends()}
    assert own == {"twice", "thrice"}
    assert kernels["twice"].load("shifts").__module__ == "multiples.shifts"
    for name in KERNELS:
        assert kernels[name].load("shifts") is kernels[name].load("sequential")
    monkeypatch.setattr(registry, "FOLDERS", ("multiples",))
    outcomes = self_test.self_test(CPU, ("shifts",), (5,))
    assert [(outcome.backend, outcome.agrees) for outcome in outcomes] == [("shifts", True)] * 2


def test_what_does_not_exist_is_refused_with_what_exists(folder: Path) -> None:
    with pytest.raises(
        UserError, match="no kernel 'diagonal': there are selective scan, short convolution, "
    ):
        registry.find("diagonal")
    with pytest.raises(UserError, match="'diagonal SSM' has no backend 'cuda': it has sequential, triton, "):
        registry.find("diagonal SSM").load("cuda")
    (folder / "reference.py").unlink()
    importlib.invalidate_caches()
    with pytest.raises(UserError, match=r"no code for 'reference': there is no multiples/reference\.py"):
        registry.find("twice").load("reference")
    with pytest.raises(UserError, match="'clip and Adam' is not a function of tensors"):
        self_test.fault("clip and Adam", lambda: None, CPU)


def test_a_backend_that_replaces_another_is_the_same_function() -> None:
    diagonal = KERNELS["diagonal SSM"]
    assert diagonal.load("mamba_ssm") is diagonal.load("sequential")
    assert "mamba_ssm" not in diagonal.own_backends()
    assert "mamba_ssm" in KERNELS["selective scan"].own_backends()


def test_declarations_are_read_without_torch() -> None:
    code = "import sys\nfrom bench.kernels import registry\nregistry.kernels()\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
