"""Names of the kernel backends, and whether this machine can run them. Readable without torch.

| name         | selective scan      | short convolution | diagonal SSM           | attention   | runs on    |
|--------------|---------------------|-------------------|------------------------|-------------|------------|
| `reference`  | token by token      | tap by tap        | Toeplitz product       | its formula | any device |
| `sequential` | gradient by hand    | shifts            | Fourier transform      | PyTorch's   | any device |
| `triton`     | fused, one launch   | fused with SiLU   | recurrence, one launch | fused       | NVIDIA GPU |
| `mamba_ssm`  | official CUDA scan  | causal_conv1d's   | Fourier transform      | as `triton` | NVIDIA GPU |

A run uses one backend for all kernels. Its name (`--kernels`) is printed and stored with the result. `auto`
means `triton` on a GPU and `sequential` on a CPU. It is resolved to that name before anything is computed.
"""

from __future__ import annotations

import functools
import importlib.util
import os

AUTO = "auto"
STAND_INS: dict[str, str | None] = {
    "sequential": None,
    "triton": None,
    "mamba_ssm": "triton",
    "reference": None,
}
"""By the name of a backend, the backend that computes the kernels it lacks; None if it has all of them."""
NAMES = tuple(STAND_INS)
SCAN_NAMES = (AUTO, *NAMES)
"""Values of `--kernels`."""
_PACKAGES = {"triton": ("triton",), "mamba_ssm": ("mamba_ssm", "causal_conv1d")}
"""Packages that a backend needs."""
INSTALL = {"triton": "pip install triton", "mamba_ssm": "pip install --no-build-isolation 'icl-bench[cuda]'"}
"""Commands that install these packages."""


def unavailable(name: str, device: str) -> str | None:
    """Why the backend `name` cannot run on `device` ("cpu", "cuda:0") and what to do; None if it can."""
    if name not in _PACKAGES:
        return None
    if not device.startswith("cuda") and not (name == "triton" and interpreted()):
        return "needs an NVIDIA GPU"
    for package in _PACKAGES[name]:
        if not _is_installed(package):
            return f"package {package} is not installed: {INSTALL[name]}"
    return None


@functools.cache
def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def interpreted() -> bool:
    """Whether Triton interprets its kernels on the CPU, which is slow and meant for tests."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def resolve(name: str, device: str) -> tuple[str, str]:
    """The backend that `name` means on `device`, and the reason. Only `auto` is not its own meaning."""
    if name != AUTO:
        return name, "as --kernels says"
    if not device.startswith("cuda"):
        return "sequential", "the fastest on a processor"
    if why := unavailable("triton", device):
        return "sequential", f"triton: {why}"
    return "triton", "the fastest on a GPU"
