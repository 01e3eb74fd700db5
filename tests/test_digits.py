"""Numbers as people write them."""

from __future__ import annotations

import pytest

from bench.digits import short


@pytest.mark.parametrize(
    ("number", "text"),
    [(1e-4, "1e-4"), (4.64e-4, "4.64e-4"), (0.01, "0.01"), (0.5, "0.5"), (10.0, "10"), (2e-3, "2e-3")],
)
def test_numbers_are_written_as_people_write_them(number: float, text: str) -> None:
    assert short(number) == text
