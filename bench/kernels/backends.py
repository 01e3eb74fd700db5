"""Names of the kernel backends, and which of them this machine can run: readable without torch.

| name         | selective scan        | short convolution | diagonal SSM             | runs on           |
|--------------|-----------------------|-------------------|--------------------------|-------------------|
| `reference`  | token by token        | tap by tap        | Toeplitz product         | any device        |
| `sequential` | gradient by hand      | shifts            | Fourier transform        | any device        |
| `triton`     | fused, one launch     | fused with SiLU   | recurrence, one launch   | NVIDIA GPU        |
| `mamba_ssm`  | official CUDA kernel  | shifts            | Fourier transform        | NVIDIA GPU        |

One name is chosen for a run (`--scan`), printed, and stored with its result. `auto` stands for
`triton` on a GPU and `sequential` on a processor; it becomes that name before anything is computed.
"""

from __future__ import annotations

import importlib.util
import os

SCAN_NAMES = ("sequential", "triton", "mamba_ssm", "reference")
AUTO = "auto"


def unavailable(name: str, device: str) -> str | None:
    """Why the backend `name` cannot run on `device` ("cpu", "cuda:0"), with what to do; None when it can."""
    needs = {"triton": ("triton",), "mamba_ssm": ("mamba_ssm", "causal_conv1d")}.get(name, ())
    if needs and not device.startswith("cuda") and not (name == "triton" and interpreted()):
        return "needs an NVIDIA GPU"
    for package in needs:
        if importlib.util.find_spec(package) is None:
            how = "triton" if package == "triton" else "--no-build-isolation 'icl-bench[cuda]'"
            return f"package {package} is not installed: pip install {how}"
    return None


def interpreted() -> bool:
    """Whether Triton runs its kernels in its interpreter, on a processor: for tests, it is slow."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def resolve(name: str, device: str) -> tuple[str, str]:
    """The backend that `name` means on `device`, and why. Everything but `auto` means itself."""
    if name != AUTO:
        return name, "named"
    if not device.startswith("cuda"):
        return "sequential", "the fastest on a processor"
    if why := unavailable("triton", device):
        return "sequential", f"triton: {why}"
    return "triton", "the fastest on a GPU"
