"""Numbers as people write them."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.digits import count_of, error_text, interval_end, plus_minus, scientific, short, superscript


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1e-4, "1e-4"),
        (4.64e-4, "4.64e-4"),
        (0.01, "0.01"),
        (0.5, "0.5"),
        (10.0, "10"),
        (2e-3, "2e-3"),
        (0.0, "0"),
        (9.9e-3, "9.9e-3"),
        (-0.005, "-5e-3"),
        (100_000.0, "100000"),
        (1e6, "1e6"),
        (1.5e-10, "1.5e-10"),
    ],
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


def test_a_count_has_commas_and_one_thing_no_s() -> None:
    assert [count_of(number, "run") for number in (0, 1, 2, 1_074)] == [
        "0 runs",
        "1 run",
        "2 runs",
        "1,074 runs",
    ]


@pytest.mark.parametrize(
    ("number", "digits", "text"),
    [
        (1.3e16, 2, "1.30 × 10¹⁶"),
        (-2e-5, 0, "−2 × 10⁻⁵"),
        (0.0, 2, "0"),
        (9.999, 2, "1.00 × 10¹"),
        (4.0, 1, "4.0 × 10⁰"),
    ],
)
def test_powers_of_ten_stay_on_one_line(number: float, digits: int, text: str) -> None:
    assert scientific(number, digits) == text.replace(" ", "\N{NO-BREAK SPACE}")


def test_exponents_are_superscripts() -> None:
    assert scientific(1.3e16).endswith("10¹⁶")
    assert scientific(1.3e16).startswith("1.30\N{NO-BREAK SPACE}")
    assert superscript(-1_234_567_890) == "⁻¹²³⁴⁵⁶⁷⁸⁹⁰"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-3, "0.001"),
        (9.99e-4, "9.99 × 10⁻⁴"),
        (9994.0, "9990"),
        (1e4, "1.00 × 10⁴"),
        (-1e-3, "−0.001"),
        (5e-324, "0"),
    ],
)
def test_powers_of_ten_begin_below_a_thousandth_and_at_ten_thousand(value: float, text: str) -> None:
    assert error_text(value) == text


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
        (0.99951, 0.0, "0.9995 ± 0"),
        (1.0000088, 4.43e-6, "1.00001 ± 4.43 × 10⁻⁶"),
        (9.9999e-6, 5.5e-6, "(1.00 ± 0.55) × 10⁻⁵"),
        (25277025484800000.0, 0.0, "(2.528 ± 0) × 10¹⁶"),
        (5e-324, 0.0, "0 ± 0"),
        (0.5, math.nan, "0.5"),
        (0.5, math.inf, "0.5"),
        (1e-3, 1e-4, "0.00100 ± 0.00010"),
        (9.99e-4, 1e-4, "(10.0 ± 1.0) × 10⁻⁴"),
        (-1.23e-5, 4e-7, "(−1.230 ± 0.040) × 10⁻⁵"),
        (-23_456.0, 200.0, "(−2.346 ± 0.020) × 10⁴"),
        (-8.5e-4, 1.673e-3, "(−8 ± 17) × 10⁻⁴"),
        (1.1e-5, 1.4e-3, "0.0000 ± 0.0014"),
        (1.1e-6, 1.4e-5, "(0.1 ± 1.4) × 10⁻⁵"),
        (9_999.0, 20.0, "9999 ± 20"),
        (1e4, 20.0, "(1.0000 ± 0.0020) × 10⁴"),
        (0.0, 0.02, "0.000 ± 0.020"),
        (7.0, 0.5, "7.00 ± 0.50"),
        (70.0, 5.0, "70.0 ± 5.0"),
        (700.0, 50.0, "700 ± 50"),
        (0.5, 1.5e-5, "0.500000 ± 0.000015"),
        (1.234567e-4, 1e-12, "1.23457 × 10⁻⁴ ± 1.00 × 10⁻¹²"),
        (0.5, 1.5e-6, "0.50000 ± 1.50 × 10⁻⁶"),
        (-0.0123, 0.0, "−0.0123 ± 0"),
    ],
)
def test_an_error_has_two_digits_and_its_value_the_same_places(value: float, error: float, text: str) -> None:
    assert plus_minus(value, error) == text


@given(st.floats(-1e12, 1e12).filter(lambda value: abs(value) > 1e-12), st.floats(1e-9, 1.0))
def test_what_is_written_is_the_number_to_its_last_digit(value: float, share: float) -> None:
    error = share * abs(value)
    text = plus_minus(value, error).replace("−", "-").translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
    match = re.fullmatch(r"(\(?)(-?[\d.]+)(?: × 10(-?\d+))? ± ([\d.]+)\)?(?: × 10(-?\d+))?", text)
    assert match is not None
    is_common, digits, own_exponent, error_digits, exponent = match.groups()
    power = 10.0 ** int(exponent or 0)
    factor = power if is_common else 10.0 ** int(own_exponent or 0)
    unit = 10.0 ** -len(digits.partition(".")[2]) * factor
    # Where the error is the larger one, the value is rounded to tens or hundreds like it.
    unit = max(unit, 10.0 ** math.floor(math.log10(error) - 1))
    assert float(digits) * factor == pytest.approx(value, abs=0.501 * unit)
    assert float(error_digits) * power == pytest.approx(error, rel=0.051)
