"""Tables of results: the score of each model, the error of each learning rate, and the points of a figure.

The CSV has every number in full; Markdown, LaTeX and the page are for reading. No cell is blank: a cell
without a number states the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from bench.digits import error_text, scientific, short
from bench.report.data.estimates import Estimate, TaskResults, at_positions, seed_errors
from bench.report.data.frame import CELL, STATES, TUNED, tallied, tally
from bench.report.data.scale import ScoreScale
from bench.report.tables.table import Table, TableCell
from bench.report.text import heading, millions
from bench.results.flops_axis import mean_flops
from bench.results.horizon import HORIZON_ACCURACY
from bench.tasks.task import LONGER
from bench.uncertainty import SeedErrors


def results_table(name: str, task: TaskResults) -> Table:
    """A row per series and size of one task: its chosen candidate and its scores."""
    scale = task.scale
    chosen = task.candidates[task.candidates["chosen"]].to_dict("records")
    candidates = {tuple(row[key] for key in CELL): row for row in chosen}
    ends = dict(iter(task.ends().groupby(CELL, sort=False)))
    longer = dict(iter(task.ends(evaluation=LONGER).groupby(CELL, sort=False)))
    numbers = pd.DataFrame(
        [
            _summary(runs, candidates.get(cell), ends.get(cell), scale) | _horizon(longer.get(cell))
            for cell, runs in task.runs.groupby(CELL, sort=False)
        ],
        columns=SUMMARY_COLUMNS,
    )
    horizons = bool(numbers["horizon"].notna().any())
    best = {column: _best(numbers, column, scale) for column in ("value", "value_last", "horizon")}
    clips = task.runs["clip"].nunique() > 1
    tuned = TUNED if clips else ["learning_rate"]
    fields = ("series", "size", "parameters", "state_numbers", *tuned, "training_flops")
    columns = [
        *map(heading, fields), scale.label, "at the last position", *(["horizon"] if horizons else []),
        "outcome", "seeds",
    ]  # fmt: skip
    rows = [
        _row(values, index, best, scale, clips, horizons)
        for index, values in enumerate(numbers.to_dict("records"))
    ]
    caption = (
        f"{scale.label.capitalize()} ± standard error: {scale.where}, and at the last position "
        f"({scale.n_points - 1} examples seen), at the last checkpoint. Bold: best of its size. "
        "Standard errors are over prompts and seeds; where one seed finished, over prompts only."
    )
    shown = [cell.text for row in rows for cell in row]
    if any(text.startswith("1 (>") for text in shown):
        caption += (
            " 1 (> b): every answer was right. With 95 % confidence, the accuracy of these models on other "
            "prompts is above b."
        )
    if any(text.startswith("0 (<") for text in shown):
        caption += (
            " 0 (< b): no answer was right. With 95 % confidence, the accuracy of these models on other "
            "prompts is below b."
        )
    if horizons:
        caption += (
            f" Horizon: positions up to the last one with an accuracy of at least {HORIZON_ACCURACY:g}, of "
            f"the {numbers['horizon_end'].max():.0f} of the longest prompts; mean over seeds. Its standard "
            "error is 0 where no other position is within reach. ≥: a seed reaches the end."
        )
    else:
        numbers = numbers.drop(columns=HORIZON_COLUMNS)
    numbers = numbers.drop(columns="prompts")
    numbers = numbers.rename(columns=lambda column: column.replace("value", scale.label.replace(" ", "_")))
    return Table(name, caption, columns, rows, numbers, frozenset({"architecture", "size", "outcome"}))


SCORES = ("value", "value_last")
HORIZON_COLUMNS = ["horizon", "horizon_se", "horizon_end", "horizon_seeds_at_end"]
"""The mean horizon, its standard error, the positions of the longest prompts, and the seeds whose horizon is
all of these."""
MODEL_COLUMNS = ["architecture", "series", "size", "size_group", "parameters", "state_numbers"]
SUMMARY_COLUMNS = [
    *MODEL_COLUMNS, *TUNED, "at_edge", "training_flops", "value", "value_se", "value_last", "value_last_se",
    *HORIZON_COLUMNS, "interval", "prompts", "outcome", "seeds_finished", "seeds_planned", "run_ids",
]  # fmt: skip


def _summary(
    runs: pd.DataFrame, candidate: Mapping[Any, Any] | None, ends: pd.DataFrame | None, scale: ScoreScale
) -> dict[str, Any]:
    """A cell's row of numbers. `ends` has the last checkpoints of its runs at the chosen candidate."""
    first = runs.iloc[0]
    summary = {key: first[key] for key in MODEL_COLUMNS}
    summary |= {"outcome": tally(runs), "seeds_finished": 0, "seeds_planned": runs["seed"].nunique()}
    if candidate is None or ends is None:
        return summary
    headline = Estimate.of(seed_errors(ends))
    scores, errors = (
        [[numbers[-1] / scale.scale] for numbers in ends[column]] for column in ("curve", "curve_se")
    )
    prompts = int(ends["independent_prompts"].min())
    (last,) = at_positions(scores, errors, prompts)
    return {
        **summary,
        **{key: candidate[key] for key in (*TUNED, "at_edge")},
        "training_flops": mean_flops(ends["training_flops"]),
        "value": scale.score_of(headline.mean),
        "value_se": headline.standard_error,
        "value_last": last.mean,
        "value_last_se": last.standard_error,
        "interval": headline.interval,
        "prompts": prompts,
        "seeds_finished": len(ends),
        "seeds_planned": candidate["planned"],
        "run_ids": " ".join(ends["id"]),
    }


def _horizon(ends: pd.DataFrame | None) -> dict[str, float]:
    """HORIZON_COLUMNS of a cell. `ends` has the rows of the evaluation on longer prompts of its runs."""
    if ends is None or ends["horizon"].isna().any():
        return {}
    horizons, errors = (ends[column].to_numpy(float) for column in ("horizon", "horizon_se"))
    end = 1 + max(max(positions) for positions in ends["examples"])
    seeds = SeedErrors("", horizons, errors, unit=ends["horizon_unit"].iloc[0])
    return {
        "horizon": float(horizons.mean()),
        "horizon_se": seeds.standard_error,
        "horizon_end": float(end),
        "horizon_seeds_at_end": float((horizons == end).sum()),
    }


def _score_cell(values: Mapping[Any, Any], column: str, scale: ScoreScale, best: bool) -> TableCell:
    """A score with its standard error (`ScoreScale.text`)."""
    text = scale.text(values[column], values[f"{column}_se"], int(values["prompts"]))
    return TableCell(text, best=best)


def _horizon_cell(values: Mapping[Any, Any], best: bool) -> TableCell:
    """A horizon: "41.0 ± 2.1"; "≥ 212 ± 31" where some seeds reach the end, "all 256" where all do.

    "all 256 ± 4.0" where some would not on other prompts.
    """
    if pd.isna(values["horizon"]):
        return TableCell("not evaluated", absent=True)
    reached = values["horizon_seeds_at_end"]
    error = values["horizon_se"]
    places = 1 if error < 10 else 0  # a horizon is a number of positions
    if values["horizon"] == values["horizon_end"]:
        less = f" ± {error:.{places}f}" if error else ""
        return TableCell(f"all {values['horizon_end']:.0f}{less}", best=best)
    text = f"{values['horizon']:.{places}f} ± {error:.{places}f}"
    return TableCell(f"≥ {text}" if reached else text, best=best)


def _best(numbers: pd.DataFrame, column: str, scale: ScoreScale) -> set[int]:
    """Rows that are best of their size, or best of all if no size has two rows to compare.

    Equal ones are all best.
    """
    scored = numbers.assign(row=range(len(numbers)))[numbers[column].notna()]
    sizes = scored.groupby("size").filter(lambda group: len(group) > 1)
    if sizes.empty:
        groups = [scored] if len(scored) > 1 else []
    else:
        groups = [group for _, group in sizes.groupby("size")]
    bests = (group[column].max() if scale.higher_is_better else group[column].min() for group in groups)
    return {
        row for group, best in zip(groups, bests, strict=True) for row in group["row"][group[column] == best]
    }


def _row(
    values: Mapping[Any, Any],
    index: int,
    best: Mapping[str, set[int]],
    scale: ScoreScale,
    clips: bool,
    horizons: bool,
) -> list[TableCell]:
    group = f" ({values['size_group']})" if isinstance(values["size_group"], str) else ""
    names = [
        TableCell(values["series"]),
        TableCell(values["size"] + group),
        TableCell(millions(values["parameters"])),
        TableCell("–" if pd.isna(values["state_numbers"]) else f"{int(values['state_numbers']):,}"),
    ]
    outcome = TableCell(values["outcome"], absent=values["outcome"] != "finished")
    if pd.isna(values["value"]):
        absent = TableCell(values["outcome"], absent=True)
        unset = [TableCell("none chosen", absent=True)] * (1 + clips)
        seeds = TableCell(f"0 of {values['seeds_planned']:.0f}", absent=True)
        scores = [absent] * (2 + horizons)
        return [*names, *unset, TableCell("none done", absent=True), *scores, outcome, seeds]
    rate = short(values["learning_rate"]) + (" (edge of its grid)" if values["at_edge"] else "")
    return [
        *names,
        TableCell(rate),
        *([TableCell(short(values["clip"]))] if clips else []),
        TableCell(scientific(values["training_flops"])),
        *(_score_cell(values, column, scale, index in best[column]) for column in SCORES),
        *([_horizon_cell(values, index in best["horizon"])] if horizons else []),
        outcome,
        TableCell(f"{values['seeds_finished']:.0f} of {values['seeds_planned']:.0f}"),
    ]


def rates_table(name: str, candidates: pd.DataFrame) -> Table:
    """A row per series and size, a column per learning rate: its error on the validation prompts."""
    keys = sorted({tuple(key) for key in candidates[TUNED].itertuples(index=False)})
    clips = candidates["clip"].nunique() > 1
    columns = [f"{short(rate)}, clip {short(clip)}" if clips else short(rate) for rate, clip in keys]
    cells: dict[tuple[Any, ...], dict[tuple[Any, ...], dict[Any, Any]]] = {}
    for row in candidates.to_dict("records"):
        cell = tuple(row[name] for name in CELL)
        cells.setdefault(cell, {})[tuple(row[name] for name in TUNED)] = row
    rows = [
        [TableCell(str(cell[1])), TableCell(str(cell[2])), *(_rate_cell(of_cell.get(key)) for key in keys)]
        for cell, of_cell in cells.items()
    ]
    caption = (
        "Normalised error on the validation prompts at the last checkpoint (1 − accuracy where accuracy is "
        "the metric), averaged over seeds. Bold: the learning rate that was chosen, of those with the most "
        "finished seeds. These errors choose and are not the ones reported."
    )
    text = frozenset({"architecture", "size"})
    numbers = candidates.drop(columns=["task_id", "tied"]).assign(
        seeds=[" ".join(map(str, of)) for of in candidates["seeds"]]
    )
    return Table(name, caption, ["architecture", "size", *columns], rows, numbers, text)


def _rate_cell(candidate: Mapping[Any, Any] | None) -> TableCell:
    if candidate is None:
        return TableCell("not planned", absent=True)
    ended = tallied({state: candidate[state] for state in STATES})
    if pd.isna(candidate["selection_error"]):
        return TableCell(ended, absent=True)
    text = error_text(float(candidate["selection_error"]))
    return TableCell(text if ended == "finished" else f"{text}; {ended}", best=bool(candidate["chosen"]))


READABLE = (
    "panel", "series", "size", "seed", "learning_rate", "step", "training_flops", "state_numbers", "value",
    "standard_error", "seeds", "learned", "convergence_step",
)  # fmt: skip
"""Columns of a figure's numbers that people read. The CSV beside the figure has all columns."""


def points_table(name: str, numbers: pd.DataFrame) -> Table:
    """The points of a figure, with a row per point."""
    columns = [column for column in READABLE if column in numbers]
    rows = [
        [TableCell(_readable(column, row[column])) for column in columns]
        for row in numbers.to_dict("records")
    ]
    caption = "The points of the figure."
    if "standard_error" in columns:
        caption += " Standard errors are over prompts and seeds; where one seed finished, over prompts only."
    text = frozenset(
        heading(column) for column in ("panel", "series", "size", "learned") if column in columns
    )
    return Table(name, caption, list(map(heading, columns)), rows, numbers, text)


def _readable(key: str, value: object) -> str:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return "–"
    if key in ("step", "convergence_step", "state_numbers", "seeds", "seed"):
        return f"{int(value):,}"  # type: ignore[call-overload]
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float | int):
        return short(float(value)) if key == "learning_rate" else f"{float(value):.3g}"
    return str(value)
