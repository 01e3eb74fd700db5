"""The entries of a legend: a series each, or architectures and variants apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.lines import Line2D

from bench.report.figures.axes import marker_fill, marker_size
from bench.report.figures.panel import Panel, common_variants, of_one_plan, variant
from bench.report.style import MUTED, Look
from bench.words import architecture_name


def series_handles(
    panels: Sequence[Panel], looks: Mapping[str, Look], with_sizes: bool = False, filled: bool = False
) -> list[Line2D]:
    """Handles of a legend of the series that are drawn.

    Where all architectures have the same variants, there is an entry for each architecture, which is a colour
    and a marker, and for each variant, which is a line style. Otherwise there is an entry per series.

    Args:
        panels: what is drawn.
        looks: by architecture.
        with_sizes: whether entries name the sizes where these differ.
        filled: whether all markers are full, for figures whose points are drawn apart from their lines.
    """
    panels = of_one_plan(panels)
    planned = panels[0].series
    styles = panels[0].styles(looks)
    sizes: dict[str, str] = {}
    for panel in panels:
        sizes |= dict(zip(panel.data["series"], panel.data["size"], strict=True))
    drawn = {series: architecture for series, architecture in planned.items() if series in sizes}
    if with_sizes and len(set(sizes.values())) > 1:
        return [_handle(_with_size(series, sizes[series]), styles[series], filled) for series in drawn]
    lines = _lines_of_variants(planned, styles)
    if not lines:
        return [_handle(series, styles[series], filled) for series in drawn]
    shown = {variant(series, architecture) for series, architecture in drawn.items()}
    colours = {architecture: {**styles[series], "linestyle": "-"} for series, architecture in drawn.items()}
    return [
        *(_handle(architecture_name(architecture), style, filled) for architecture, style in colours.items()),
        *(
            _handle(name, {"color": MUTED, "linestyle": line, "marker": "" if filled else "o"}, filled)
            for name, line in lines.items()
            if name in shown
        ),
    ]


def _handle(label: str, style: Mapping[str, Any], filled: bool) -> Line2D:
    full = filled or style["linestyle"] == "-"
    fill = {"markeredgecolor": "none"} if full else marker_fill(style)
    return Line2D([], [], **style, **fill, markersize=marker_size(style["marker"]), label=label)


def _with_size(series: str, size: str) -> str:
    """A series and its size: "Mamba 2×64", "Mamba-3, without rotation, 2×64"."""
    return f"{series}, {size}" if "," in series else f"{series} {size}"


def _lines_of_variants(planned: Mapping[str, str], styles: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Line styles by variant, if all architectures have the same variants in the same styles; else empty."""
    if not common_variants(planned):
        return {}
    lines: dict[str, Any] = {}
    for series, architecture in planned.items():
        line = styles[series]["linestyle"]
        if lines.setdefault(variant(series, architecture), line) != line:
            return {}  # an architecture whose colour is another's, too, has other dashes
    return lines
