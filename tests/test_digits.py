"""Numbers as people write them."""

from __future__ import annotations

import pytest

from bench.digits import interval_end, plus_minus, short


@pytest.mark.parametrize(
    ("number", "text"),
    [(1e-4, "1e-4"), (4.64e-4, "4.64e-4"), (0.01, "0.01"), (0.5, "0.5"), (10.0, "10"), (2e-3, "2e-3")],
)
def test_numbers_are_written_as_people_write_them(number: float, text: str) -> None:
    assert short(number) == text


@pytest.mark.parametrize(
    ("end", "error", "text"),
    [
        (0.99732, 0.00099, "0.99732"),  # the places of 0.99922 ± 0.00099
        (0.99998, 0.00099, "0.99998"),
        (0.48, 0.01, "0.480"),
        (0.0123456, 0.2, "0.0123"),
        (-0.55123, 0.13, "−0.551"),
        (1234.5, 90.0, "1230"),
        (1.2e-5, 1e-6, "1.20 × 10⁻⁵"),
        (0.5, 0.0, "0.5"),
        (0.5, None, "0.5"),
    ],
)
def test_ends_of_intervals_have_the_places_of_the_standard_error(
    end: float, error: float | None, text: str
) -> None:
    assert interval_end(end, error) == text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.12341, 0.0021, "0.1234 ± 0.0021"),
        (7300.0, 558.8, "7300 ± 560"),
        (7800.0, 1241.0, "7800 ± 1200"),
        (128.4, 12.3, "128 ± 12"),
        (-0.5491, 0.128, "−0.55 ± 0.13"),
        (1.0, 0.0, "1 ± 0"),
        (1.0, 0.00011, "1.00000 ± 0.00011"),
    ],
)
def test_a_standard_error_has_two_digits_and_the_value_the_same_places(
    value: float, error: float, text: str
) -> None:
    assert plus_minus(value, error) == text
