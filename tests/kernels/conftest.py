"""What every test of kernels shares."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True, scope="module")
def interpreter() -> Iterator[None]:
    """Say that Triton's kernels run in its interpreter if there is no GPU (see `interpret_triton`)."""
    with pytest.MonkeyPatch.context() as patch:
        if not torch.cuda.is_available():
            patch.setenv("TRITON_INTERPRET", "1")
        yield
