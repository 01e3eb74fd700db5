"""What tests of reports share."""

from __future__ import annotations

import pytest

from bench.report import write

SVG = b'<svg viewBox="0 0 486 200"><g id="part"/><path id="p1"/><use href="#p1"/></svg>'


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without the encoding of figures, which takes most of their time."""
    files = {"svg": SVG, "png": b"png", "pdf": b"pdf"}
    monkeypatch.setattr(write, "all_encoded", lambda figures: dict.fromkeys(figures, files))
