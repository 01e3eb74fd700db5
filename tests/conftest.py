"""What every test shares."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from bench import kernels


def interpret_triton() -> None:
    """Import Triton and its kernels here such that they run in its interpreter.

    Triton decides that when a module is imported, its own among them, and any test may be the first to
    import one. Only the kernels' own tests then say that the interpreter may be used.
    """
    if torch.cuda.is_available() or importlib.util.find_spec("triton") is None:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        folder = Path(kernels.__file__).parent
        for file in sorted(folder.rglob("triton*.py")):
            parts = file.relative_to(folder).with_suffix("").parts
            importlib.import_module(".".join(("bench.kernels", *parts)))


interpret_triton()


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Tests run beside each other: one thread each is faster than all of them fighting for cores."""
    torch.set_num_threads(1)
