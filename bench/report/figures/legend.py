"""The entries of a legend: a series each, or architectures and variants apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.lines import Line2D

from bench.report.figures.axes import Panel, marker_size
from bench.report.style import MUTED, Look, architecture_name


def series_handles(
    panels: Sequence[Panel], looks: Mapping[str, Look], with_sizes: bool = False
) -> list[Line2D]:
    """Handles of a legend of the series that are drawn.

    Where all architectures have the same variants, there is an entry for each architecture, which is a colour
    and a marker, and for each variant, which is a line style. Otherwise there is an entry per series.

    Args:
        panels: what is drawn.
        looks: by architecture.
        with_sizes: whether entries name the sizes where these differ.
    """
    planned: dict[str, str] = {}
    styles: dict[str, dict[str, Any]] = {}
    sizes: dict[str, str] = {}
    for panel in panels:
        planned |= panel.series
        styles = panel.styles(looks) | styles
        sizes |= dict(zip(panel.data["series"], panel.data["size"], strict=True))
    drawn = {series: architecture for series, architecture in planned.items() if series in sizes}
    if with_sizes and len(set(sizes.values())) > 1:
        return [_handle(f"{series} {sizes[series]}", styles[series]) for series in drawn]
    lines = _lines_of_variants(planned, styles)
    if not lines:
        return [_handle(series, styles[series]) for series in drawn]
    shown = {_variant(series, architecture) for series, architecture in drawn.items()}
    colours = {architecture: {**styles[series], "linestyle": "-"} for series, architecture in drawn.items()}
    return [
        *(_handle(architecture_name(architecture), style) for architecture, style in colours.items()),
        *(
            _handle(variant, {"color": MUTED, "linestyle": line, "marker": ""})
            for variant, line in lines.items()
            if variant in shown
        ),
    ]


def _handle(label: str, style: Mapping[str, Any]) -> Line2D:
    size = marker_size(style["marker"])
    return Line2D([], [], **style, markersize=size, markeredgecolor="none", label=label)


def _lines_of_variants(planned: Mapping[str, str], styles: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Line styles by variant, if several architectures have the same variants; else empty."""
    by_architecture: dict[str, dict[str, Any]] = {}
    for series, architecture in planned.items():
        lines = by_architecture.setdefault(architecture, {})
        lines[_variant(series, architecture)] = styles[series]["linestyle"]
    first, *others = by_architecture.values() or [{}]
    return first if others and len(first) > 1 and all(other == first for other in others) else {}


def _variant(series: str, architecture: str) -> str:
    """What a series is beside its architecture: `precision tf32`."""
    return series.removeprefix(architecture_name(architecture)).lstrip(", ")
