"""What every test shares."""

from __future__ import annotations

import importlib.util

import pytest
import torch


def interpret_triton() -> None:
    """Import Triton and its kernels here such that they run in its interpreter.

    Triton decides that when a module is imported, its own among them, and any test may be the first to
    import one. Only tests/test_kernels.py then says that the interpreter may be used.
    """
    if torch.cuda.is_available() or importlib.util.find_spec("triton") is None:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        for module in (
            "triton_convolution",
            "triton_draws",
            "attention.triton",
            "triton_scan",
            "triton_scan_gradient",
            "triton_ssm",
        ):
            importlib.import_module(f"bench.kernels.{module}")


interpret_triton()


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Tests run beside each other: one thread each is faster than all of them fighting for cores."""
    torch.set_num_threads(1)
