"""The kernel backends, and whether this machine can run them. Readable without torch.

| name         | selective scan      | short convolution | diagonal SSM           | attention   | runs on    |
|--------------|---------------------|-------------------|------------------------|-------------|------------|
| `reference`  | token by token      | tap by tap        | Toeplitz product       | its formula | any device |
| `sequential` | gradient by hand    | shifts            | Fourier transform      | PyTorch's   | any device |
| `triton`     | fused, one launch   | fused with SiLU   | recurrence, one launch | fused       | NVIDIA GPU |
| `mamba_ssm`  | official CUDA scan  | causal_conv1d's   | Fourier transform      | as `triton` | NVIDIA GPU |

Mamba's block consists of the first two kernels and of matrix products. In `triton` the block is one operator
with one gradient.

A kernel that is not in the table may consist of PyTorch's operations alone. All backends but `reference` then
compute it as `sequential` does.

The scan of `triton` exists in CUDA C++ too. The CUDA version runs if PyTorch includes the compiler NVRTC.
`bench doctor` states which version a machine uses.

A run uses one backend for all kernels. The backend's name (`--kernels`) is printed and stored with the
result. `auto` means `triton` on a GPU and `sequential` on a CPU, and is replaced by that name before any
computation.

To add a backend, add an entry to `BACKENDS`, and a file of its name to the folder of each kernel that it
computes.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from dataclasses import dataclass

AUTO = "auto"


@dataclass(frozen=True)
class Backend:
    """A kernel backend.

    Attributes:
        otherwise: the backend that computes kernels for which this one has no file; None if it has all.
        packages: packages that the backend imports.
        install: command that installs these packages.
        gpu: whether it needs an NVIDIA GPU.
    """

    otherwise: str | None = None
    packages: tuple[str, ...] = ()
    install: str = ""
    gpu: bool = False


BACKENDS: dict[str, Backend] = {
    "sequential": Backend(otherwise="reference"),
    "triton": Backend(otherwise="sequential", packages=("triton",), install="pip install triton", gpu=True),
    "mamba_ssm": Backend(
        otherwise="triton",
        packages=("mamba_ssm", "causal_conv1d"),
        install="pip install --no-build-isolation 'icl-bench[cuda]'",
        gpu=True,
    ),
    "reference": Backend(),
}
NAMES = tuple(BACKENDS)
CHOICES = (AUTO, *NAMES)
"""Values of `--kernels`."""


def unavailable(name: str, device: str) -> str | None:
    """Why the backend `name` cannot run on `device` ("cpu", "cuda:0"), and what to do; None if it can."""
    backend = BACKENDS.get(name, Backend())  # `auto` is no entry
    if backend.gpu and not device.startswith("cuda") and not (name == "triton" and interpreted()):
        return "needs an NVIDIA GPU"
    for package in backend.packages:
        if not _is_installed(package):
            return f"package {package} is not installed: {backend.install}"
    return None


@functools.cache
def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def interpreted() -> bool:
    """Whether Triton interprets its kernels on the CPU, which is slow and meant for tests."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def resolve(name: str, device: str) -> tuple[str, str]:
    """The backend of `name` on `device`, and the reason. Only `auto` is replaced by another name."""
    if name != AUTO:
        return name, "as --kernels says"
    if not device.startswith("cuda"):
        return "sequential", "the fastest on a processor"
    if why := unavailable("triton", device):
        return "sequential", f"triton: {why}"
    return "triton", "the fastest on a GPU"
