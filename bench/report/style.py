"""Colours and markers: one colour and one marker per architecture, everywhere.

Any two colours are at least 10 apart by CIEDE2000, with normal sight, protanopia and deuteranopia (as
Machado, Oliveira and Fernandes simulate them), and so are their twins for a dark page. Each stands out 3:1
from its page. A search found them; tests/report/test_style.py measures the distances. Importing this module
loads neither matplotlib nor seaborn.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

INK, MUTED, FAINT, PAPER = "#1f2328", "#59636e", "#d5dae0", "#ffffff"
FIXED = {
    "transformer": 0, "mamba": 1, "s4_mamba": 2, "s4": 3, "standard_hybrid": 4, "mambaformer": 5, "lstm": 6,
    "transformer_no_positions": 7, "transformer_first_mamba": 8, "mamba_one_hybrid": 9,
}  # fmt: skip
"""Places of the paper's architectures. Others take the places behind them in alphabetical order, then those
of the paper's architectures that are not shown. After the last place they begin anew, with other dashes."""


@dataclass(frozen=True)
class Look:
    """How an architecture looks.

    Attributes:
        colour: on a white page.
        dark: its twin on a dark page.
        marker: of its points.
        turn: how often all colours were used before: the place in LINES of its line style.
    """

    colour: str
    dark: str
    marker: str
    turn: int = 0


LOOKS = (
    Look("#3179ad", "#4e8bb9", "o"),
    Look("#d65c01", "#ef9463", "s"),
    Look("#e85f8b", "#e0568b", "D"),
    Look("#19a596", "#079089", "^"),
    Look("#5933f3", "#7152a3", "P"),
    Look("#23252b", "#dcdbf0", "*"),
    Look("#672b24", "#d87570", "v"),
    Look("#65540b", "#785f06", "X"),
    Look("#28a0c6", "#58badc", "p"),
    Look("#920152", "#ba1169", "h"),
    Look("#9a955c", "#8c8a26", "<"),
    Look("#2e3da5", "#605afe", ">"),
    Look("#c03b52", "#c73956", "d"),
    Look("#3a866b", "#67ca9e", "8"),
)
DARK = {INK: "#e6edf3", MUTED: "#9da7b1", FAINT: "#3d444d", PAPER: "#0d1117"} | {
    look.colour: look.dark for look in LOOKS
}
"""The colour on a dark page, by the colour in a figure."""

GROUPS = (LOOKS[10], LOOKS[8], LOOKS[13], LOOKS[9])
"""Looks of size groups, for the figure whose colours mean sizes (Figure 10)."""

LINES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1, 1.3)), (0, (5, 1.5, 1, 1.5)))
"""Line styles of an architecture's variants, in the order of the plan."""

MARKER_FILLS = ("full", "hollow", "bottom", "left")
"""How markers on lines of LINES are filled: wholly, not at all, or the half that is named."""

TEXT_SIZE = 8
"""Points of every text in a figure at its width in print."""

RC: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": TEXT_SIZE,
    "axes.titlesize": TEXT_SIZE,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.labelsize": TEXT_SIZE,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.unicode_minus": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "figure.facecolor": PAPER,
    "text.color": INK,
    "text.parse_math": False,  # names from a suite may contain dollar signs
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": TEXT_SIZE,
    "ytick.labelsize": TEXT_SIZE,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.5,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": TEXT_SIZE,
    "svg.fonttype": "none",
    "svg.hashsalt": "bench",
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
}
"""Settings in which every figure differs from seaborn's style for paper."""


@contextmanager
def in_style() -> Iterator[None]:
    """Draw in this style: matplotlib's defaults, then seaborn's style for paper, then RC."""
    import matplotlib
    import seaborn

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({**seaborn.axes_style("ticks"), **seaborn.plotting_context("paper"), **RC})
        yield


def looks(architectures: Iterable[str]) -> dict[str, Look]:
    """The look of each architecture, the same for the same set of names."""
    names = sorted(set(architectures))
    shown = {place for name, place in FIXED.items() if name in names}
    free = [*range(len(FIXED), len(LOOKS)), *(place for place in range(len(FIXED)) if place not in shown)]
    new = [name for name in names if name not in FIXED]
    further = itertools.chain(free, itertools.count(len(LOOKS)))
    places = FIXED | dict(zip(new, further, strict=False))
    return {
        name: replace(LOOKS[places[name] % len(LOOKS)], turn=places[name] // len(LOOKS)) for name in names
    }
