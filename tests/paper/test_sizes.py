"""Sizes as text, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.models.sizes import LARGEST, Size, size_key, size_text
from bench.paper.sizes import sizes_of

COUNTS = st.integers(1, LARGEST)


@given(layers=COUNTS, width=COUNTS)
def test_both_spellings_of_a_size_are_read(layers: int, width: int) -> None:
    size = Size(layers=layers, width=width)
    assert sizes_of(size_key(size)) == sizes_of(size_text(size)) == (size,)
    assert size_key(size).isascii(), "it is part of file names"


@pytest.mark.parametrize("word", ["0x128", "2x0", f"2x{LARGEST + 1}", "2x128x8", "2", "x", "-2x128"])
def test_other_words_are_no_sizes(word: str) -> None:
    assert sizes_of(word) is None
