"""Every figure and table that a report can draw by name: the paper's, and yours.

An experiment names them in `rebuilds: Figures 9 and 10, left`, a claim in `source: §4.3, Table 3`. The names
are read from that text, so nothing depends on what an experiment is called.

A figure of your own is a file in `bench/report/figures/` and a line in EXHIBITS. Its name has an underscore
(`error_by_width`), which tells it from the other words of `rebuilds`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple


class Exhibit(NamedTuple):
    """A figure or table that a report can draw.

    Attributes:
        title: what it shows.
        function: `module.function` inside `bench.report`. A figure's function takes `results` and
            `references` (frames of `bench.report.data`) and returns a `Drawing`. A table's returns a `Table`.
        data: what the function receives: the results of the experiments that name the exhibit, those of
            the exhibits that it sums up, or nothing.
        against_flops: whether its models are compared at equal training FLOPs.
        summed_up: whether Table 1 sums it up.
        baselines: whether a table's function receives `references` too, as that of a figure does.
        elsewhere: architectures that another figure shows, by that figure. A run of theirs is left
            out if its experiment rebuilds that figure too.
    """

    title: str
    function: str
    data: Literal["own", "summed up", "none"] = "own"
    against_flops: bool = False
    summed_up: bool = False
    baselines: bool = False
    elsewhere: Mapping[str, tuple[str, ...]] = {}

    @property
    def is_figure(self) -> bool:
        """Whether its function returns a `Drawing`."""
        return self.function.startswith("figures.")


EXHIBITS = {
    "Table 1": Exhibit("who learns what, in symbols", "tables.printed.table_1", "summed up"),
    "Figure 2": Exhibit(
        "Transformer, Mamba, S4-Mamba and S4 against training FLOPs", "figures.flops.figure_2",
        against_flops=True, summed_up=True, elsewhere={"Figure 8": ("standard_hybrid", "mambaformer")},
    ),
    "Figure 3": Exhibit(
        "regression with outliers, and without them at test time", "figures.flops.figure_3",
        against_flops=True, summed_up=True,
    ),
    "Figure 4": Exhibit("chain of thought: model size and hidden width", "figures.varied.figure_4"),
    "Table 3": Exhibit(
        "vector-valued multi-query associative recall", "tables.printed.table_3", summed_up=True
    ),
    "Figure 5": Exhibit("accuracy on sparse parity", "figures.accuracy.figure_5"),
    "Figure 7": Exhibit("how soon sparse parity is learned", "figures.convergence.figure_7", summed_up=True),
    "Figure 8": Exhibit(
        "Transformer, Mamba and the hybrids against training FLOPs", "figures.flops.figure_8",
        against_flops=True, summed_up=True, elsewhere={"Figure 2": ("s4_mamba", "s4")},
    ),
    "Table 4": Exhibit("GINC", "tables.languages.table_4", baselines=True),
    "Table 5": Exhibit("RegBench", "tables.languages.table_5", baselines=True),
    "Table 6": Exhibit("parameters", "tables.parameters.table_6", "none"),
    "Figure 9": Exhibit("linear regression with two optimisers", "figures.flops.figure_9"),
    "Figure 10": Exhibit("depth against width, with two optimisers", "figures.varied.figure_10"),
    "score_by_state": Exhibit("the final score against the state", "figures.state.score_by_state"),
}  # fmt: skip
"""By name, in the order in which a report shows them: the paper's pages, then figures of our own."""

_NUMBERED = re.compile(r"\b(Figure|Table)s?\s+(\d+(?:(?:\s*,\s*|\s*,?\s+and\s+)\d+)*)\b")


def named(text: str) -> tuple[str, ...]:
    """Return every exhibit that a text names: "Figures 9 and 10, left" → ("Figure 9", "Figure 10").

    Numbers of exhibits that no report draws are included; `unknown` finds them.
    """
    numbered = [
        f"{match[1]} {number}"
        for match in _NUMBERED.finditer(text)
        for number in re.findall(r"\d+", match[2])
    ]
    return tuple(dict.fromkeys([*numbered, *(word for word in _words(text) if word in EXHIBITS)]))


def unknown(text: str) -> str | None:
    """Return the first name in a text that no report draws, or None.

    Such names are "Figure 99", "figure 2" (it needs a capital letter) and "error_by_with" (not in EXHIBITS).
    """
    for name in [*named(text), *(word for word in _words(text) if "_" in word)]:
        if name not in EXHIBITS:
            return name
    remainder = _NUMBERED.sub("", text)
    loose = re.search(r"\b(?:fig(?:ure)?|tab(?:le)?)s?\b\.?\s*\d+", remainder, re.IGNORECASE)
    return loose[0] if loose else None


def _words(text: str) -> list[str]:
    return re.findall(r"[\w-]+", text)
