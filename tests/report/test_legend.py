"""Legends: an entry per series, or architectures and their common variants apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import pytest
from matplotlib.lines import Line2D

from bench.report.data.scale import ScoreScale
from bench.report.figures.legend import series_handles
from bench.report.figures.panel import Panel, of_one_plan
from bench.report.style import LINES, LOOKS, MUTED, looks
from bench.tasks import TASKS

SCALE = ScoreScale.of(TASKS["linear_regression"].example())
PRECISIONS = ("precision fp32", "precision tf32", "precision bf16")
BOTH = {
    f"{name}, {variant}": architecture
    for name, architecture in (("Transformer", "transformer"), ("Mamba", "mamba"))
    for variant in PRECISIONS
}


def panel(series: Mapping[str, str], sizes: Mapping[str, str]) -> Panel:
    """A panel with a point of each series in `sizes`."""
    data = pd.DataFrame({"series": list(sizes), "size": list(sizes.values())})
    return Panel("Linear regression", SCALE, data, pd.DataFrame(), series)


def handles(series: Mapping[str, str], sizes: Mapping[str, str], **options: Any) -> list[Line2D]:
    return series_handles([panel(series, sizes)], looks(series.values()), **options)


def labels(series: Mapping[str, str], sizes: Mapping[str, str], **options: Any) -> list[str]:
    return [str(handle.get_label()) for handle in handles(series, sizes, **options)]


def test_variants_that_all_architectures_have_are_entries_of_their_own() -> None:
    made = handles(BOTH, dict.fromkeys(BOTH, "2×64"))
    assert [handle.get_label() for handle in made] == ["Transformer", "Mamba", *PRECISIONS]
    assert [handle.get_color() for handle in made] == [LOOKS[0].colour, LOOKS[1].colour, *[MUTED] * 3]
    assert [handle.get_marker() for handle in made] == [LOOKS[0].marker, LOOKS[1].marker, *["o"] * 3]


def test_the_line_of_a_variant_is_that_of_its_curves() -> None:
    shown = panel(BOTH, dict.fromkeys(BOTH, "2×64"))
    styles = shown.styles(looks(BOTH.values()))
    for index, variant in enumerate(PRECISIONS):
        lines = {str(style["linestyle"]) for series, style in styles.items() if series.endswith(variant)}
        assert lines == {str(LINES[index])}


def test_what_is_not_drawn_has_no_entry() -> None:
    drawn = {series: "2×64" for series in BOTH if not series.endswith("bf16")}
    assert labels(BOTH, drawn) == ["Transformer", "Mamba", *PRECISIONS[:2]]
    assert labels(BOTH, {"Mamba, precision tf32": "2×64"}) == ["Mamba", "precision tf32"]
    assert labels(BOTH, {}) == []


@pytest.mark.parametrize(
    "series",
    [
        {"Transformer": "transformer", "Mamba": "mamba"},
        {
            "Transformer": "transformer",
            "S4-Mamba, dropout 0": "s4_mamba",
            "S4-Mamba, dropout 0.1": "s4_mamba",
        },
        {"Mamba, adam": "mamba", "Mamba, adamw": "mamba"},
        {"Mamba, adam": "mamba", "Mamba, adamw": "mamba", "S4, adam": "s4", "S4, muon": "s4"},
    ],
)
def test_other_series_are_listed(series: Mapping[str, str]) -> None:
    assert labels(series, dict.fromkeys(series, "2×64")) == list(series)


def test_series_of_different_sizes_are_listed_with_them() -> None:
    sizes = {series: "2×64" if "fp32" in series else "4×64" for series in BOTH}
    assert labels(BOTH, sizes, with_sizes=True) == [f"{series}, {sizes[series]}" for series in BOTH]
    assert labels(BOTH, sizes) == ["Transformer", "Mamba", *PRECISIONS]


def test_variants_of_one_architecture_have_colours_and_markers_of_their_own() -> None:
    series = {"DeltaNet": "deltanet", "DeltaNet, 2 heads": "deltanet", "DeltaNet, 4 heads": "deltanet"}
    by_name = looks(["deltanet", "mamba"])
    styles = panel(series, dict.fromkeys(series, "2×64")).styles(by_name)
    for part in ("color", "marker", "linestyle"):
        assert len({str(style[part]) for style in styles.values()}) == len(series), part
    assert styles["DeltaNet"]["color"] == by_name["deltanet"].colour
    assert by_name["mamba"].colour not in {style["color"] for style in styles.values()}


def test_variants_take_colours_of_architectures_that_are_not_in_the_figure() -> None:
    names = [f"own_{place}" for place in range(len(LOOKS))]
    series = {names[0]: names[0], f"{names[0]}, 2 heads": names[0], names[1]: names[1]}
    styles = panel(series, dict.fromkeys(series, "2×64")).styles(looks(names))
    for part in ("color", "marker"):
        assert len({style[part] for style in styles.values()}) == len(series), part


def test_variants_share_the_colour_of_their_architecture_where_no_colour_is_left() -> None:
    names = [f"own_{place}" for place in range(len(LOOKS))]
    series = {name: name for name in names} | {f"{names[0]}, 2 heads": names[0]}
    styles = panel(series, dict.fromkeys(series, "2×64")).styles(looks(names))
    first, second = styles[names[0]], styles[f"{names[0]}, 2 heads"]
    assert first["color"] == second["color"]
    assert first["linestyle"] != second["linestyle"]


def test_a_series_looks_the_same_in_all_panels_of_a_figure() -> None:
    three = {f"Mamba, {count} heads": "mamba" for count in (1, 2, 4)}
    last = dict(list(three.items())[1:])
    by_name = looks(["mamba"])
    first, second = of_one_plan([panel(part, dict.fromkeys(part, "2×64")) for part in (three, last)])
    assert first.styles(by_name) == second.styles(by_name)
