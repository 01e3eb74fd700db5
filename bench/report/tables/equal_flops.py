"""Comparisons at fixed training FLOPs as tables: a ranking per task, and one summary of all tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from bench.digits import error_text, scientific
from bench.report.data.budgets import RULE, FrontierComparison, matching, ranking
from bench.report.style import FIXED
from bench.report.tables.table import Table, TableCell
from bench.report.text import slug
from bench.words import architecture_name


def ranking_table(comparison: FrontierComparison, names: set[str]) -> Table:
    """Rows are architectures, columns are budgets. Cells have error and rank with their intervals."""
    numbers = ranking(comparison)
    budgets = comparison.budgets()
    by_cell = {(row["series"], row["budget"]): row for row in numbers.to_dict("records")}
    rows = [
        [TableCell(name), *(_ranked(by_cell[name, budget]) for budget in budgets)]
        for name in comparison.series
        if comparison.lines[name]
    ]
    remark = "" if comparison.paired else " No intervals: the runs were not scored on the same prompts."
    if comparison.paired and comparison.one_seed:
        remark = (
            f" One seed, so intervals of errors over prompts only: {', '.join(comparison.one_seed)}. Ranks "
            "among them: prompts only."
        )
    caption = (
        f"{comparison.task}: error of each frontier at a budget, its 90 % interval, and its rank among those "
        f"that reach it (ranks within the interval).{remark}"
    )
    heads = [f"{scientific(budget, 0)} FLOPs" for budget in budgets]
    name = slug(f"at-equal-flops-{comparison.task}", names)
    return Table(name, caption, ["architecture", *heads], rows, numbers, frozenset({"architecture"}))


def _ranked(row: dict[Any, Any]) -> TableCell:
    if math.isnan(row["error"]):
        return TableCell("outside of its sizes", absent=True)
    first = error_text(row["error"])
    if math.isfinite(row["error_low"]):
        first += f" ({error_text(row['error_low'])}–{error_text(row['error_high'])})"
    place = f"#{row['rank']:.0f}"
    if math.isfinite(row["rank_low"]) and row["rank_low"] != row["rank_high"]:
        place += f" ({row['rank_low']:.0f}–{row['rank_high']:.0f})"
    return TableCell(f"{first}  {place}", best=row["rank"] == 1)


def matching_table(comparisons: Sequence[FrontierComparison]) -> Table:
    """Rows are tasks, columns architectures: how many times the Transformer's FLOPs each needs to match it.

    Where a task has no Transformer, Transformer++ or else the first architecture of its plan stands in its
    place.
    """
    parts = [matching(comparison) for comparison in comparisons]
    numbers = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["task"])
    architectures = list(
        dict.fromkeys(name for comparison in comparisons for name in comparison.series.values())
    )
    architectures.sort(key=lambda name: FIXED.get(name, len(FIXED)))
    rows, references = [], set()
    for comparison, pairs in zip(comparisons, parts, strict=True):
        reference = _reference(comparison)
        references.add(comparison.series[reference])
        factors = {row["b"]: row for row in pairs[pairs["a"] == reference].to_dict("records")}
        by_architecture: dict[str, list[str]] = {}
        for series, architecture in comparison.series.items():
            by_architecture.setdefault(architecture, []).append(series)
        cells = [_matched(by_architecture.get(name, []), reference, factors) for name in architectures]
        rows.append([TableCell(comparison.task), *cells])
    alone = architecture_name(next(iter(references))) if len(references) == 1 else ""
    name = f"{'the ' if alone == 'Transformer' else ''}{alone} (×1)" if alone else "the one marked ×1"
    caption = (
        f"How many times the FLOPs of {name} an architecture needs for the lowest error that both reach, "
        "with its 90 % interval (one seed: no interval); below 1 it needs fewer. †: its best error stays "
        "above the best of ×1. ≤, ≥: one of them is there with its smallest model "
        f"already. All pairs are in the CSV. {RULE}"
    )
    heads = ["task", *(architecture_name(name) for name in architectures)]
    return Table("times-the-flops", caption, heads, rows, numbers, frozenset({"task"}))


def _reference(comparison: FrontierComparison) -> str:
    names = [name for name in comparison.series if comparison.lines[name]]
    preferred = ("transformer", "transformer_plus_plus")
    transformers = (
        name for architecture in preferred for name in names if comparison.series[name] == architecture
    )
    return next(transformers, names[0])


def _matched(names: Sequence[str], reference: str, factors: dict[Any, dict[Any, Any]]) -> TableCell:
    """The cell of one architecture: a factor per series, with the series' name if there are several."""
    texts = []
    for name in names:
        suffix = "" if len(names) == 1 else f" [{name}]"
        if name == reference:
            texts.append(f"×1{suffix}")
        elif name in factors and math.isfinite(factors[name]["factor"]):
            texts.append(_factor_text(factors[name]) + suffix)
    return (
        TableCell("; ".join(texts))
        if texts
        else TableCell("no result" if names else "not planned", absent=True)
    )


def _factor_text(row: dict[Any, Any]) -> str:
    text = f"{row['bound']}×{_two_digits(row['factor'])}"
    if row["one_seed"]:
        return f"{text}{'†' if row['falls_short'] else ''} (one seed: no interval)"
    if not row["bound"] and not math.isnan(row["factor_low"]):
        text += f" ({_two_digits(row['factor_low'])}–{_two_digits(row['factor_high'])})"
    return text + ("†" if row["falls_short"] else "")


def _two_digits(value: float) -> str:
    if math.isinf(value):
        return "∞"
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
