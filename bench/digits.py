"""Numbers as people read and write them: counts, significant digits, standard errors, powers of ten."""

from __future__ import annotations

import math
import sys

MOST_EXACT = 1e-5
"""A smaller standard error has a power of ten of its own: more than six places are hard to read."""


def superscript(number: int) -> str:
    """A whole number in superscript: ⁻⁵."""
    return str(number).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def with_minus(text: str) -> str:
    """A number of Python's with the minus sign that people read: −0.5."""
    return f"\N{MINUS SIGN}{text[1:]}" if text.startswith("-") else text


def count_of(number: int, noun: str) -> str:
    """A number and a noun: `1 run`, `3 runs`, `1,074 runs`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def scientific(number: float, digits: int = 2) -> str:
    """1.30e16 as people write it, on one line: 1.30 × 10¹⁶."""
    if number == 0:
        return "0"
    mantissa, exponent = f"{number:.{digits}e}".split("e")
    return f"{with_minus(mantissa)}\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}10{superscript(int(exponent))}"


def plus_minus(value: float, error: float) -> str:
    """0.1234 ± 0.0021: the standard error with two significant digits, the value to the same place.

    Below 0.001 and from 10,000 on as (1.230 ± 0.040) × 10⁻⁵. Without any error as 1 ± 0. The power of
    ten is that of the error if the value is less than a tenth of it: 0.0000 ± 0.0014.
    """
    if not math.isfinite(error):
        return error_text(value)
    value = _normal(value)
    size = abs(value)
    if error > 10 * size > 0:
        size = error
    if 0 < size < 1e-3 or size >= 1e4:
        exponent = int(f"{size:.2e}".partition("e")[2])
        scale, power = 10.0**exponent, f" × 10{superscript(exponent)}"
        if 0 < error < MOST_EXACT * scale:
            return f"{with_minus(f'{value / scale:.5f}')}{power} ± {error_text(error)}"
        return f"({_aligned(value / scale, error / scale)}){power}"
    if 0 < error < MOST_EXACT:
        return f"{with_minus(f'{value:.5f}')} ± {error_text(error)}"
    return _aligned(value, error)


def _aligned(value: float, error: float) -> str:
    """0.1234 ± 0.0021, of a value that needs no power of ten."""
    if error == 0:
        return f"{with_minus(f'{value:.4g}')} ± 0"
    digits = 1 - math.floor(math.log10(error))
    places = max(0, digits)  # none from 7300 ± 560 on
    return f"{with_minus(f'{round(value, digits):.{places}f}')} ± {round(error, digits):.{places}f}"


def _normal(value: float) -> float:
    """The value, or 0 where it is so small that a power of ten beside it would be 0."""
    return 0.0 if abs(value) < sys.float_info.min else value


def error_text(value: float) -> str:
    """Three significant digits: 0.0123, 1.23 × 10⁻⁵."""
    value = _normal(value)
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return with_minus(f"{float(f'{value:.3g}'):g}")
    exponent = int(f"{abs(value):.2e}".partition("e")[2])
    return f"{with_minus(f'{value / 10.0**exponent:.2f}')} × 10{superscript(exponent)}"


def interval_end(value: float, error: float | None) -> str:
    """An end of the interval of a number: three significant digits, or as many places as the standard error.

    0.99922 ± 0.00099 is in [0.99732, 0.99998], which three digits would make [0.997, 1].
    """
    text = error_text(value)
    if error is None or not 0 < error < 1 or "×" in text or "e" in text:
        return text
    places = min(6, 1 - math.floor(math.log10(error)))
    return with_minus(f"{value:.{places}f}") if places > len(text.partition(".")[2]) else text


def short(number: float) -> str:
    """A number as people write it: 1e-4, 0.5, 10."""
    text = f"{number:g}"
    if "e" not in text and 0 < abs(number) < 0.01:
        text = f"{number:.3e}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return text
