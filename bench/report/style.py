"""Colours, markers and names for people: one colour and one marker per architecture, everywhere.

Colours are Okabe and Ito's, safe for the colour-blind, darkened where needed until they stand out 3:1
from white; each has a lighter twin for a dark page. Importing this loads neither matplotlib nor seaborn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

INK, MUTED, FAINT, PAPER = "#1f2328", "#59636e", "#d5dae0", "#ffffff"
FIXED = {
    "transformer": 0, "mamba": 1, "s4_mamba": 2, "s4": 3, "standard_hybrid": 4, "mambaformer": 5, "lstm": 6,
    "transformer_no_positions": 7, "transformer_first_mamba": 8, "mamba_one_hybrid": 9,
}  # fmt: skip
"""Places of the paper's architectures. Others take the next free places in alphabetical order."""


@dataclass(frozen=True)
class Look:
    """A colour, its twin on a dark page, and a marker."""

    colour: str
    dark: str
    marker: str


LOOKS = (
    Look("#0072b2", "#5cb3ee", "o"),
    Look("#d55e00", "#ff8f4d", "s"),
    Look("#b8548f", "#e597c5", "D"),
    Look("#009068", "#3fcfa4", "^"),
    Look("#a87400", "#f0b63f", "P"),
    Look("#24292f", "#f0f3f6", "*"),
    Look("#8a5a3b", "#d2a384", "v"),
    Look("#6a51a3", "#b6a3e8", "X"),
    Look("#2a8c99", "#6fd0dc", "p"),
    Look("#c0392b", "#ff8d80", "h"),
    Look("#5f7a1f", "#b4cf6e", "<"),
    Look("#47617d", "#a0bcd9", ">"),
)
DARK = {INK: "#e6edf3", MUTED: "#9da7b1", FAINT: "#3d444d", PAPER: "#0d1117"} | {
    look.colour: look.dark for look in LOOKS
}
"""The colour on a dark page, by the colour in a figure."""

GROUPS = (LOOKS[7], LOOKS[8], LOOKS[10], LOOKS[9])
"""Looks of size groups, for the figure whose colours mean sizes (Figure 10)."""

LINES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1, 1.3)), (0, (5, 1.5, 1, 1.5)))
"""Line styles of an architecture's variants, in the order of the plan."""

RC: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.labelsize": 8,
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
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.5,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 7.5,
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


_NAMES = {
    "transformer": "Transformer",
    "mamba": "Mamba",
    "s4": "S4",
    "s4_mamba": "S4-Mamba",
    "standard_hybrid": "Standard Hybrid",
    "mambaformer": "MambaFormer",
    "lstm": "LSTM",
    "transformer_no_positions": "Transformer without PE",
    "transformer_first_mamba": "Transformer, first block Mamba",
    "mamba_one_hybrid": "6 Mamba blocks + 1 Standard Hybrid",
    "two_layer_network": "2NN regression",
    "orthogonal_outlier_regression": "Orthogonal-outlier regression",
    "many_outlier_regression": "Many-outlier regression",
    "chain_of_thought": "Chain-of-Thought-I/O",
    "vector_mqar": "Vector-valued MQAR",
    "ginc": "GINC",
    "regbench": "RegBench",
}


def architecture_name(name: str) -> str:
    """An architecture's name for people; an unknown one keeps its name."""
    return _NAMES.get(name, name)


def task_name(name: str) -> str:
    """A task's name for people: linear_regression → Linear regression."""
    return _NAMES.get(name, name.replace("_", " ")[:1].upper() + name.replace("_", " ")[1:])


def looks(architectures: Iterable[str]) -> dict[str, Look]:
    """The look of each architecture, the same for the same set of names."""
    names = sorted(set(architectures))
    new = [name for name in names if name not in FIXED]
    places = FIXED | {name: len(FIXED) + index for index, name in enumerate(new)}
    return {name: LOOKS[places[name] % len(LOOKS)] for name in names}


def superscript(number: int) -> str:
    return str(number).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def scientific(number: float, digits: int = 2) -> str:
    """1.30e16 as people write it, on one line: 1.30 × 10¹⁶."""
    if number == 0:
        return "0"
    mantissa, exponent = f"{number:.{digits}e}".split("e")
    return f"{mantissa}\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}10{superscript(int(exponent))}"
