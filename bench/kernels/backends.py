"""Names of the scan backends, and whether this machine can run them: readable without torch."""

from __future__ import annotations

import importlib.util

SCAN_NAMES = ("sequential", "reference", "mamba_ssm")


def unavailable(name: str, device: str) -> str | None:
    """Why the backend `name` cannot run on `device` ("cpu", "cuda:0"), with what to do; None when it can."""
    if name != "mamba_ssm":
        return None
    if not device.startswith("cuda"):
        return "needs an NVIDIA GPU"
    for package in ("mamba_ssm", "causal_conv1d"):
        if importlib.util.find_spec(package) is None:
            return f"package {package} is not installed: pip install --no-build-isolation 'icl-bench[cuda]'"
    return None
