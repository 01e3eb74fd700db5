"""From the frame to what is drawn: means, intervals and frontiers of the chosen runs.

Errors are normalised as in `bench.results`: squared error by the task's scale, so that the trivial predictor
scores 1. An accuracy is shown as it is. What stands for several seeds is their mean over those that finished
(SEEDS_RULE). Intervals are over prompts and seeds, with one seed over prompts only.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bench.report.data.choices import best_sizes, candidates, chosen
from bench.report.data.frame import WITH_RESULTS, runs_of, tally, tuples
from bench.report.data.scale import ScoreScale
from bench.results.flops_axis import mean_flops
from bench.results.record import MAIN
from bench.uncertainty import Floats, SeedErrors, half_width, variances
from bench.words import task_name

BANDS_RULE = (
    "Bands, and bars at final points beside them: 90 % intervals over prompts and, with several seeds, over "
    "trainings."
)
FEWEST_FOR_BANDS = 3
"""With two seeds, Student's t has one degree of freedom: intervals are 6.3 standard errors to each side and
cover most panels. Figures then show both seeds in place of the interval, which tables and files state."""
FRONTIER_RULE = (
    "Line: for each architecture, the best of the points shown at no more training FLOPs, up to the largest "
    "number of FLOPs it was trained with. "
    f"Points: every size at its chosen learning rate; earlier checkpoints are more transparent. {BANDS_RULE}"
)

SEEDS_RULE = (
    "Several seeds are shown by their mean over those that finished: what a researcher who trains once can "
    "expect. A median or a best seed would hide seeds that fail."
)
INTERVAL_RULE = (
    "Intervals are 90 %. With two or more seeds they are over prompts and seeds: they say how the mean would "
    "vary with other test prompts and other trainings. Few seeds or prompts say little about their own "
    "spread, so Student's t widens the intervals. With one seed they are over prompts only: they say how "
    "well that model was measured, and nothing about a second training."
)
OVER_BOTH, OVER_PROMPTS = "prompts and seeds", "prompts only"
"""What an interval is over."""


class TaskResults:
    """Rows of the frame that belong to one task, and what a report shows of them.

    Attributes:
        rows: the rows.
        task_id: the task's.
        title: its name for people.
        short_title: its name among the selected runs, for names of files.
        family: the name that tasks with other settings share with it: "Sparse parity".
        scale: how its scores are shown.
    """

    def __init__(self, rows: pd.DataFrame) -> None:
        self.rows = rows
        first = rows.iloc[0]
        self.task_id, self.title = str(first["task_id"]), str(first["task"])
        self.short_title = str(first["short_task"])
        self.family = task_name(str(first["task_name"]))
        self.scale: ScoreScale = first["score_scale"]

    @cached_property
    def runs(self) -> pd.DataFrame:
        """A row per planned run."""
        return runs_of(self.rows)

    @cached_property
    def candidates(self) -> pd.DataFrame:
        """`candidates` of the task."""
        return candidates(self.rows)

    @cached_property
    def best_sizes(self) -> pd.DataFrame:
        """`best_sizes` of the candidates."""
        return best_sizes(self.candidates)

    @property
    def has_results(self) -> bool:
        """Whether a run has one."""
        return bool(self.rows["state"].isin(WITH_RESULTS).any())

    @property
    def series(self) -> dict[str, str]:
        """The architecture of each planned series, in the order of the plan."""
        return dict(zip(self.runs["series"], self.runs["architecture"], strict=True))

    def ends(self, table: pd.DataFrame | None = None, evaluation: str = MAIN) -> pd.DataFrame:
        """Rows of finished runs at the last checkpoint: of the chosen candidates, or of those in `table`."""
        rows = self.rows[(self.rows["evaluation"] == evaluation) & self.rows["at_end"]]
        return chosen(rows, self.candidates if table is None else table)

    def end_points(self) -> pd.DataFrame:
        """`points` of the chosen candidates at the last checkpoint."""
        return self._points(self.ends())

    def points(self, evaluation: str = MAIN) -> pd.DataFrame:
        """`points` of the chosen candidates at every checkpoint that has the evaluation."""
        rows = self.rows[(self.rows["evaluation"] == evaluation) & self.rows["step"].notna()]
        picked = chosen(rows, self.candidates)
        # From the first stop of a seed on, a mean over seeds would be one over those that have not converged.
        first_stop = picked.groupby(["series", "size"])["stopped_at"].transform("min")
        whole = first_stop.isna() | (picked["step"] < first_stop) | picked["at_end"]
        return self._points(picked[whole])

    def _points(self, picked: pd.DataFrame) -> pd.DataFrame:
        """`points` of rows of the chosen candidates, without those that have no error."""
        every = points(picked, self.scale, seeds_planned(self.runs))
        return every[every["error"].notna()]

    def curves(self, table: pd.DataFrame | None = None) -> pd.DataFrame:
        """`curves` at the last checkpoint: of the chosen candidates, or of those in `table`."""
        ends = self.ends(table)
        return curves(ends[ends["curve"].notna()], self.scale)

    def headline_position(self, evaluation: str = MAIN) -> int | None:
        """The position at which the headline of an evaluation is read; None for a mean over positions."""
        rows = self.rows.loc[self.rows["evaluation"] == evaluation, "headline_position"].dropna()
        return None if rows.empty else int(rows.iloc[0])

    def references(self, references: pd.DataFrame, evaluation: str = MAIN) -> pd.DataFrame:
        """The task's rows of `references_frame` for one evaluation."""
        return references[(references["task_id"] == self.task_id) & (references["evaluation"] == evaluation)]

    def absent(self, drawn: Collection[Any]) -> list[str]:
        """A phrase for each planned series that is not in `drawn`: how its runs ended."""
        groups = self.runs.groupby("series", sort=False)
        return [f"{series}: {tally(runs)}" for series, runs in groups if series not in drawn]


def tasks_of(rows: pd.DataFrame) -> list[TaskResults]:
    """The results of each task, in the order of the plan."""
    return [TaskResults(own) for _, own in rows.groupby("task_id", sort=False)]


def on_frontier(points: pd.DataFrame, budget: str = "training_flops") -> pd.DataFrame:
    """`estimates.points` with the column `on_frontier`: better than every point at no larger budget.

    Along the marked points of a series, error falls strictly as the budget rises. Missing errors are never
    marked.

    Args:
        points: with the columns series, error and that of the budget.
        budget: the column of budgets.
    """
    order = points[["series", budget, "error"]].astype({budget: float, "error": float}).dropna()
    order = order.sort_values([budget, "error"])
    lowest = order.groupby("series")["error"].cummin()
    before = lowest.groupby(order["series"]).shift(fill_value=math.inf)
    marked = (order["error"] < before).reindex(points.index, fill_value=False)
    return points.assign(on_frontier=marked.astype(bool))


def seeds_planned(runs: pd.DataFrame) -> dict[tuple[str, str], int]:
    """The number of seeds with which each (series, size) of one task was planned."""
    groups = runs.groupby(["series", "size"], sort=False)["seed"]
    return {(str(series), str(size)): seeds.nunique() for (series, size), seeds in groups}


class Estimate(NamedTuple):
    """A mean over seeds, its standard error, half of its 90 % interval, and what these are over."""

    mean: float
    standard_error: float
    half_width: float
    interval: str

    @classmethod
    def of(cls, model: SeedErrors) -> Estimate:
        over = OVER_BOTH if len(model.means) > 1 else OVER_PROMPTS
        return cls(model.mean, model.standard_error, model.half_width, over)


OF_SEEDS = ["id", "error", "error_se", "prompts", "independent_prompts", "prompt_errors"]
"""Columns of the frame that `seed_errors` reads."""


def seed_errors(rows: pd.DataFrame) -> SeedErrors:
    """The headline errors of one model at one checkpoint: `rows` of the frame, one per seed."""
    return _seed_errors(tuples(rows, OF_SEEDS))


def _seed_errors(seeds: Sequence[tuple[str, float, float, str, int, Floats | None]]) -> SeedErrors:
    """`seed_errors` of the values of OF_SEEDS, a tuple per seed."""
    ids, means, standard_errors, prompts, counts, of_prompts = zip(*seeds, strict=True)
    per_prompt = None
    # Seeds are paired where all were scored on the same prompts and every result keeps each prompt's score.
    kept = [errors for errors in of_prompts if errors is not None]
    if len(kept) == len(seeds) and len({len(errors) for errors in kept}) == 1 == len(set(prompts)):
        per_prompt = np.stack(kept)
    return SeedErrors(
        key=" ".join(ids),
        means=np.array(means, float),
        prompt_errors=np.array(standard_errors, float),
        prompts=str(prompts[0]),
        prompt_count=min(counts),
        per_prompt=per_prompt,
        limits=(0.0, math.inf),  # no error is below 0
    )


def at_positions(means: Any, standard_errors: Any, prompts: float) -> list[Estimate]:
    """An estimate per position.

    Args:
        means: (S, N), a row per seed.
        standard_errors: the same shape, over prompts.
        prompts: number of independent prompts.
    """
    values, errors = np.asarray(means, float), np.asarray(standard_errors, float)
    parts = variances(values, errors)
    over = OVER_BOTH if len(values) > 1 else OVER_PROMPTS
    numbers = (values.mean(axis=0), np.sqrt(sum(parts)), half_width(*parts, len(values), prompts))
    return [
        Estimate(float(mean), float(error), float(half), over)
        for mean, error, half in zip(*numbers, strict=True)
    ]


class CurvePoint(NamedTuple):
    """The score of one series and size at one position, averaged over seeds, as it is shown.

    Attributes:
        examples: in-context examples before the position.
        low, high: ends of the 90 % interval.
        interval: OVER_BOTH or OVER_PROMPTS.
        run_ids: the runs, separated by blanks.
        seed_values: the score of each run.
        independent_prompts: on how many independent prompts the scores rest.
    """

    series: str
    architecture: str
    size: str
    examples: int
    value: float
    standard_error: float
    low: float
    high: float
    seeds: int
    interval: str
    run_ids: str
    seed_values: list[float]
    independent_prompts: int


def curves(selected: pd.DataFrame, scale: ScoreScale) -> pd.DataFrame:
    """Score against in-context examples at the last checkpoint: a row per `CurvePoint`.

    Args:
        selected: rows of finished runs at the last checkpoint, a row per run.
        scale: how the task's scores are shown.
    """
    rows = []
    keys = ["series", "architecture", "size"]
    for key, runs in selected.groupby(keys, sort=False):
        series, architecture, size = map(str, key)
        means, errors = (np.stack(runs[column].to_list()) / scale.scale for column in ("curve", "curve_se"))
        prompts, run_ids = int(runs["independent_prompts"].min()), " ".join(runs["id"])
        rows += [
            CurvePoint(
                series, architecture, size, examples, value, error, value - half, value + half, len(runs),
                over, run_ids, seed_values, prompts,
            )
            for examples, (value, error, half, over), seed_values in zip(
                runs["examples"].iloc[0], at_positions(means, errors, prompts), means.T.tolist(), strict=True
            )
        ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(CurvePoint._fields))


class CheckpointPoint(NamedTuple):
    """The score of one series and size at one checkpoint, averaged over seeds.

    Attributes:
        state_numbers: as in the frame; NaN where a block states none.
        step: training steps; at the end of seeds that stopped at different steps, their mean.
        at_end: the end of training, which is before `steps` where seeds stopped after convergence.
        error: orders points; lower is better.
        value: what is shown: the error or the accuracy.
        low, high: ends of the value's 90 % interval.
        seeds: seeds that finished.
        interval: OVER_BOTH or OVER_PROMPTS.
        run_ids: the runs, separated by blanks.
        seed_values: the value of each run.
        independent_prompts: on how many independent prompts the values rest.
    """

    series: str
    architecture: str
    size: str
    parameters: int
    state_numbers: float
    learning_rate: float
    steps: int
    at_end: bool
    step: int
    training_flops: int
    error: float
    value: float
    standard_error: float
    low: float
    high: float
    seeds: int
    seeds_planned: int
    interval: str
    run_ids: str
    seed_values: list[float]
    independent_prompts: int


def points(selected: pd.DataFrame, scale: ScoreScale, seeds: Mapping[tuple[str, str], int]) -> pd.DataFrame:
    """Score against training FLOPs: a row per `CheckpointPoint`.

    Args:
        selected: rows of finished runs of the chosen candidates (`chosen`).
        scale: how the task's scores are shown.
        seeds: the number of seeds with which each (series, size) was planned.
    """
    rows = []
    # The ends of seeds that stopped at different steps are one point.
    moment = selected["step"].where(~selected["at_end"].astype(bool), math.inf)
    keys = list(CheckpointPoint._fields[:8])
    groups = selected.groupby([*(selected[name] for name in keys), moment], sort=False, dropna=False).ngroup()
    members: dict[int, list[tuple[Any, ...]]] = {}
    names = (keys, ["step", "training_flops", "independent_prompts"], OF_SEEDS)
    for group, *row in zip(groups.tolist(), *(tuples(selected, columns) for columns in names), strict=True):
        members.setdefault(group, []).append(tuple(row))
    for group_rows in members.values():
        models, moments, errors = zip(*group_rows, strict=True)
        series, architecture, size, parameters, state, learning_rate, total_steps, at_end = models[0]
        steps, flops, prompts = zip(*moments, strict=True)
        mean, error, half, over = Estimate.of(_seed_errors(errors))
        value = scale.score_of(mean)
        count = len(group_rows)
        rows.append(
            CheckpointPoint(
                series, architecture, size, parameters, state, learning_rate, total_steps, bool(at_end),
                round(math.fsum(steps) / count), mean_flops(flops), mean, value, error, value - half,
                value + half, count, max(count, seeds.get((series, size), 0)), over,
                " ".join(run_id for run_id, *_ in errors),
                [float(scale.score_of(error)) for _, error, *_ in errors], min(prompts),
            )
        )  # fmt: skip
    return pd.DataFrame(rows, columns=list(CheckpointPoint._fields))
