"""Figures as files and as SVG inside a page; the same figure gives the same bytes."""

from __future__ import annotations

import io
import re
from html import escape
from typing import Any

from matplotlib.figure import Figure

from bench.report.style import DARK, in_style

_METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
"""What a page's figures are set in. Laid out with DejaVu Sans, which is wider than all of these."""


def encoded(figure: Figure) -> dict[str, bytes]:
    """The figure as svg, png (200 dpi) and pdf, without dates."""
    files = {}
    for kind, metadata in _METADATA.items():
        buffer = io.BytesIO()
        with in_style():
            figure.savefig(buffer, format=kind, metadata=metadata)
        files[kind] = buffer.getvalue()
    return files


def inline(svg: bytes, prefix: str, description: str) -> str:
    """An SVG element for a page: ids made unique by `prefix`, colours that follow the page's.

    Every colour of `bench.report.style` becomes a CSS variable with that colour as its fallback, so
    that a dark page can lighten it. Text stays text.
    """
    text = svg.decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="([^"]*)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r'href="#([^"]*)"', rf'href="#{prefix}-\1"', text)
    text = re.sub(r"url\(#([^)]*)\)", rf"url(#{prefix}-\1)", text)
    text = text.replace("xlink:href", "href")
    # Only inside style attributes: a name that happens to read like a colour stays as it is.
    text = re.sub(r'style="[^"]*"', lambda match: _themed(match[0]), text)
    opening = text[: text.index(">") + 1]
    size = re.search(r'viewBox="[^"]*"', opening)
    start = f'<svg {size[0] if size else ""} role="img" aria-label="{escape(description)}">'
    return start + text[len(opening) :].rstrip()


def _themed(style: str) -> str:
    for colour in DARK:
        style = style.replace(colour, f"var({variable(colour)}, {colour})")
    return style.replace("'DejaVu Sans'", FONTS)


def variable(colour: str) -> str:
    """The CSS variable that stands for a colour of a figure."""
    return f"--f-{colour.removeprefix('#')}"
