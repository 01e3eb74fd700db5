"""The figures of error against what was varied: 4 (model size, hidden width) and 10 (depth against width)."""

from __future__ import annotations

import math

import pandas as pd

from bench.report.data.estimates import TaskResults
from bench.report.data.frame import varied_setting
from bench.report.figures.drawing import Drawing
from bench.report.figures.flops import OPTIMIZERS
from bench.report.figures.lines import drawing, panel_of
from bench.report.style import GROUPS, architecture_name, looks
from bench.report.text import millions


def figure_4(results: pd.DataFrame, references: pd.DataFrame) -> Drawing:
    """Chain of thought: error against model size at one hidden width (left), and the reverse (right).

    What the tasks differ in is the hidden width; its axis is read from their settings.
    """
    results = results.assign(series=results["architecture"].map(architecture_name))
    sizes = results.groupby("task_id", sort=False)["size"].nunique()
    left = results[results["task_id"] == sizes.idxmax()]
    tasks = results.groupby("size", sort=False)["task_id"].nunique()
    right = results[results["size"] == tasks.idxmax()]
    found = looks(results["architecture"])
    styles = {architecture_name(name): found[name] for name in results["architecture"].unique()}
    field = varied_setting(results) or "hidden"
    ends = TaskResults(left).end_points()
    by_size = ends.assign(x=ends["parameters"].astype(float))
    counts = {x: millions(int(x)) for x in by_size["x"]}
    panels = [panel_of("Model size", "parameters", by_size, left, styles, counts)]
    parts = []
    for task_id in right["task_id"].unique():
        rows = right[right["task_id"] == task_id]
        value = rows["settings"].iloc[0].get(field, math.nan)
        parts.append(TaskResults(rows).end_points().assign(x=float(value)))
    over = pd.concat(parts, ignore_index=True)
    ticks = {x: f"{x:g}" for x in over["x"].dropna()}
    size = right["size"].iloc[0]
    label = "hidden width of the target network"
    panels.append(panel_of(f"Hidden width, models of {size}", label, over, right, styles, ticks))
    caption = (
        "Error at the last checkpoint of each model at its chosen learning rate. Left: against the number of "
        f"parameters, {left['task'].iloc[0]}. Right: against the hidden width of the target network, at "
        f"{size}. The paper's text does not say what its axes count."
    )
    return drawing("figure-4", panels, caption, 2)


def figure_10(results: pd.DataFrame, references: pd.DataFrame) -> Drawing:
    """Linear regression after 40 examples against width: a line a group of equal parameters.

    A row an architecture, Adam on the left and AdamW on the right.
    """
    results = results.assign(
        series=results["architecture"].map(architecture_name),
        error=results["error_last"],
        error_se=results["error_last_se"],
    )
    groups = parameter_groups(results)
    named = dict(zip(dict.fromkeys(groups.values()), GROUPS * len(groups), strict=False))
    panels = []
    for architecture in results["architecture"].unique():
        for optimizer in sorted(results["optimizer"].unique()):
            rows = results[(results["architecture"] == architecture) & (results["optimizer"] == optimizer)]
            if rows.empty:
                continue
            task = TaskResults(rows)
            ends = task.end_points()
            ends = ends.assign(x=ends["size"].map(_width), series=ends["size"].map(groups))
            title = f"{architecture_name(architecture)}, {OPTIMIZERS.get(optimizer, optimizer)}"
            ticks = {x: f"{x:g}" for x in results["width"].astype(float).unique()}
            label = f"normalised error\nafter {task.scale.n_points - 1} examples"
            panels.append(panel_of(title, "width", ends, rows, named, ticks, label))
    caption = (
        "Error at the last position at the last checkpoint, each model at its chosen learning rate. A line "
        "is a group of equal parameters (of the Transformer's blocks): its widest model has 2 layers, then "
        "8, 32 and 128. AdamW comes with a linear warm-up and a cosine decay. Widths are inferred "
        "from the paper's counts."
    )
    return drawing("figure-10", panels, caption, results["optimizer"].nunique(), "parameters")


def parameter_groups(results: pd.DataFrame) -> dict[str, str]:
    """By size, its group of equal parameters: 12 × layers × width² as in Figure 10's legend."""
    sizes = results.drop_duplicates("size")
    return {
        str(size): millions(round(12 * int(layers) * int(width) ** 2))
        for size, layers, width in zip(sizes["size"], sizes["layers"], sizes["width"], strict=True)
    }


def _width(size: str) -> float:
    return float(size.partition("×")[2])
