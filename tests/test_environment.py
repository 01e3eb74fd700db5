"""What ran where, as it is recorded."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import bench
from bench import environment


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place on the path for an `nvidia-smi` of the test's own; without one there is no driver."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path / "nvidia-smi"


def install(driver: Path, *lines: str) -> None:
    driver.write_text("\n".join(["#!/bin/sh", *lines]))
    driver.chmod(0o755)


def test_without_a_driver_the_device_is_the_processor(driver: Path) -> None:
    assert environment.local_device() == (environment.cpu_name(), "cpu")
    assert environment.cpu_name()


def test_with_gpus_the_device_is_the_first(driver: Path) -> None:
    install(driver, "echo NVIDIA H200", "echo NVIDIA A100")
    assert environment.local_device() == ("NVIDIA H200", "gpu")


@pytest.mark.parametrize("lines", [("exit 9",), ("echo Failed to initialize NVML; exit 9",), ("true",)])
def test_a_driver_that_finds_no_gpu_leaves_the_processor(driver: Path, lines: tuple[str, ...]) -> None:
    install(driver, *lines)
    assert environment.local_device()[1] == "cpu"


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_gpus_that_are_hidden_are_not_the_device(
    driver: Path, monkeypatch: pytest.MonkeyPatch, hidden: str
) -> None:
    install(driver, "echo NVIDIA H200")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert environment.local_device()[1] == "cpu"


@pytest.mark.parametrize(
    ("told", "found"), [("a" * 40, ("a" * 40, False)), ("b" * 40 + "-dirty", ("b" * 40, True))]
)
def test_code_without_its_history_may_say_its_commit(
    monkeypatch: pytest.MonkeyPatch, told: str, found: tuple[str, bool]
) -> None:
    monkeypatch.setenv("BENCH_COMMIT", told)
    assert environment.code_version.__wrapped__() == found


def git(root: Path, *arguments: str) -> None:
    who = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    subprocess.run(["git", "-C", str(root), *who, *arguments], check=True, capture_output=True)


def test_the_commit_is_that_of_the_checkout_and_changes_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BENCH_COMMIT", raising=False)
    module = tmp_path / "bench" / "__init__.py"
    module.parent.mkdir()
    module.write_text("")
    monkeypatch.setattr(bench, "__file__", str(module))
    version = environment.code_version.__wrapped__
    assert version() == (None, None), "not a checkout"
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "First")
    commit, dirty = version()
    assert commit is not None
    assert len(commit) == 40
    assert dirty is False
    (tmp_path / "notes.txt").write_text("beside the code")
    assert version() == (commit, False)
    module.write_text("changed = True")
    assert version() == (commit, True)


def test_a_package_that_is_not_installed_has_no_version() -> None:
    assert environment.package_version("no-such-distribution-anywhere") is None
    assert environment.package_version("torch")


def test_a_description_says_which_code_ran_on_what() -> None:
    told = environment.describe("cpu")
    assert told["bench"] == bench.__version__
    assert told["device"] == environment.cpu_name()
    assert told["packages"]["torch"]
    assert "mamba-ssm" not in told["packages"] or told["packages"]["mamba-ssm"]
    assert told["cpu_threads"] >= 1
