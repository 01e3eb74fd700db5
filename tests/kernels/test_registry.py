"""The registry of kernels: what it lists exists, and what it lacks is said."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command import ROOT

from bench.errors import UserError
from bench.kernels import backends, inputs, registry, self_test, speed


def names(file: Path) -> set[str]:
    """What a file defines at its top level; read, not imported: it may need a GPU's packages."""
    statements = ast.parse(file.read_text(encoding="utf-8")).body
    defined = {each.name for each in statements if isinstance(each, ast.FunctionDef | ast.ClassDef)}
    targets = [target for each in statements if isinstance(each, ast.Assign) for target in each.targets]
    inner = [
        name for target in targets for name in (target.elts if isinstance(target, ast.Tuple) else [target])
    ]
    return defined | {name.id for name in inner if isinstance(name, ast.Name)}


@pytest.mark.parametrize("kernel", list(registry.KERNELS))
def test_every_registered_backend_is_where_the_registry_says(kernel: str) -> None:
    table = registry.backends_of(kernel)
    assert table.keys() <= set(backends.NAMES)
    for place in table.values():
        if not isinstance(place, str):
            assert callable(place)
        elif ":" in place:
            module, _, name = place.partition(":")
            assert name in names(ROOT / f"{module.replace('.', '/')}.py")
        else:
            assert place in table


@pytest.mark.parametrize("kernel", list(registry.KERNELS))
def test_every_kernel_has_a_reference_and_runs_with_every_backend_that_a_run_may_choose(kernel: str) -> None:
    assert "reference" in registry.own_backends(kernel)
    assert set(registry.backends_of(kernel)) == set(backends.NAMES)


def test_every_kernel_is_tested_and_timed() -> None:
    assert inputs.INPUTS.keys() == speed.FLOATS.keys()
    assert registry.KERNELS.keys() == inputs.INPUTS.keys() | {self_test.UPDATE}


def test_a_backend_that_a_kernel_lacks_is_refused_with_those_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.KERNELS, "diagonal SSM", {"reference": "a:b", "sequential": "reference"})
    with pytest.raises(
        UserError, match="'diagonal SSM' has no backend 'triton': it has reference, sequential"
    ):
        registry.load("diagonal SSM", "triton")
    with pytest.raises(
        UserError, match="no kernel 'diagonal': there are selective scan, short convolution, "
    ):
        registry.load("diagonal", "triton")


@pytest.mark.slow
def test_a_kernel_is_tested_with_the_backends_that_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = {
        key: place for key, place in registry.backends_of("diagonal SSM").items() if key != "sequential"
    }
    monkeypatch.setitem(registry.KERNELS, "diagonal SSM", {**lacking, "mamba_ssm": "reference"})
    outcomes = self_test.self_test(torch.device("cpu"), ("sequential",), (5,))
    assert {outcome.kernel for outcome in outcomes} == registry.KERNELS.keys() - {"diagonal SSM"}


def test_a_backend_that_stands_in_for_another_is_the_same_function_and_not_its_own() -> None:
    assert registry.load("diagonal SSM", "mamba_ssm") is registry.load("diagonal SSM", "sequential")
    assert "mamba_ssm" not in registry.own_backends("diagonal SSM")
    assert "mamba_ssm" in registry.own_backends("selective scan")


def test_a_location_may_be_a_callable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.KERNELS, "largest", {"reference": lambda: max})
    assert registry.load("largest", "reference") is max
    with pytest.raises(UserError, match="'largest' has no backend 'triton': it has reference"):
        registry.load("largest", "triton")


def test_specifications_are_read_without_torch() -> None:
    code = (
        "import sys, bench.kernels.scan, bench.kernels.convolution, bench.kernels.ssm\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
