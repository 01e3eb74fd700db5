"""What every test shares."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Tests run beside each other: one thread each is faster than all of them fighting for cores."""
    import torch

    torch.set_num_threads(1)
