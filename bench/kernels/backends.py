"""Names of the kernel backends, and which of them this machine can run: readable without torch.

| name         | selective scan      | short convolution | diagonal SSM           | attention   | runs on    |
|--------------|---------------------|-------------------|------------------------|-------------|------------|
| `reference`  | token by token      | tap by tap        | Toeplitz product       | its formula | any device |
| `sequential` | gradient by hand    | shifts            | Fourier transform      | PyTorch's   | any device |
| `triton`     | fused, one launch   | fused with SiLU   | recurrence, one launch | fused       | NVIDIA GPU |
| `mamba_ssm`  | official CUDA scan  | causal_conv1d's   | Fourier transform      | as `triton` | NVIDIA GPU |

One name is chosen for a run (`--kernels`), printed, and stored with its result. `auto` stands for
`triton` on a GPU and `sequential` on a processor; it becomes that name before anything is computed.
"""

from __future__ import annotations

import functools
import importlib.util
import os

AUTO = "auto"
NAMES = ("sequential", "triton", "mamba_ssm", "reference")
SCAN_NAMES = (AUTO, *NAMES)
"""What `--kernels` may say."""
_PACKAGES = {"triton": ("triton",), "mamba_ssm": ("mamba_ssm", "causal_conv1d")}
"""Backends that need packages, and which."""
INSTALL = {"triton": "pip install triton", "mamba_ssm": "pip install --no-build-isolation 'icl-bench[cuda]'"}
"""How those are had."""


def unavailable(name: str, device: str) -> str | None:
    """Why the backend `name` cannot run on `device` ("cpu", "cuda:0"), with what to do; None when it can."""
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
    """Whether Triton runs its kernels in its interpreter, on a processor: for tests, it is slow."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def resolve(name: str, device: str) -> tuple[str, str]:
    """The backend that `name` means on `device`, and why. Everything but `auto` means itself."""
    if name != AUTO:
        return name, "as --kernels says"
    if not device.startswith("cuda"):
        return "sequential", "the fastest on a processor"
    if why := unavailable("triton", device):
        return "sequential", f"triton: {why}"
    return "triton", "the fastest on a GPU"
