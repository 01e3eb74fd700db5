"""Facts about the machine, the packages and the code, recorded by the process that trains."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import socket
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import bench

PACKAGES = ("torch", "numpy", "triton", "mamba-ssm", "causal-conv1d", "scikit-learn", "pydantic")


def describe(device: str) -> dict[str, Any]:
    """Describe code, packages and machine as plain values.

    Args:
        device: "cpu" or "cuda:<index>".
    """
    import torch

    return {
        "bench": bench.__version__,
        **code_identity(),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := package_version(name))},
        "cuda": torch.version.cuda,
        "device": device_name(device),
        "cpu_threads": torch.get_num_threads(),
        "host": socket.gethostname(),
        "system": platform.platform(),
    }


def device_name(device: str) -> str:
    """The model name of the GPU or the processor."""
    if device.startswith("cuda"):
        import torch

        return str(torch.cuda.get_device_name(device))
    return cpu_name()


@cache
def cpu_name() -> str:
    """The processor's model name, or its architecture where the system does not name the model."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def package_version(name: str) -> str | None:
    """Installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


@cache
def code_version() -> tuple[str | None, bool | None]:
    """Commit of the checkout that this package was imported from, and whether it has changes.

    Code that was copied without its history can state its commit in the variable `BENCH_COMMIT`, in the form
    of `git describe --always --dirty --abbrev=40`. None where neither exists.
    """
    if description := os.environ.get("BENCH_COMMIT"):
        commit, dirty, _ = description.partition("-dirty")
        return commit, bool(dirty)
    root = Path(bench.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None, None
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=10, check=True, env=environment
        )
        return done.stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        status = git("status", "--porcelain", "--untracked-files=no", "--", "bench")
    except (OSError, subprocess.SubprocessError):
        return None, None
    return commit, bool(status)


@cache
def code_identity() -> dict[str, Any]:
    """`commit` and `dirty` as in `code_version`, and `source`: a digest of the package's Python files.

    The first call in a process fixes the value, so call it before the files can change.
    """
    commit, dirty = code_version()
    return {"commit": commit, "dirty": dirty, "source": source_digest(Path(bench.__file__).parent)}


def source_digest(package: Path) -> str:
    """Twelve hexadecimal digits that change with any Python file under `package`."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def gpu_memory_mib() -> list[int]:
    """Memory of every GPU in the driver's order, in MiB; empty where there is no driver."""
    try:
        return [int(memory) for memory in _of_every_gpu("memory.total")]
    except ValueError:
        return []


def local_device() -> tuple[str, str]:
    """Name and kind ("gpu" or "cpu") of the device that a run would use, without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):  # CUDA's values for no GPU
        return cpu_name(), "cpu"
    names = _of_every_gpu("name")
    return (names[0], "gpu") if names else (cpu_name(), "cpu")


def _of_every_gpu(field: str) -> list[str]:
    """One field of every GPU, from the driver; empty where there is no driver or it fails."""
    try:
        answer = subprocess.run(
            ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in answer.stdout.strip().splitlines()]
