"""Predictors that were not trained, beside the results: floors, references, baselines, trivial predictors."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd

from bench.report.data.scale import ScoreScale
from bench.results import Pool
from bench.run import Run

REFERENCE_COLUMNS = [
    "task_id", "evaluation", "name", "kind", "examples", "value", "standard_error", "overall", "in_mean",
]  # fmt: skip


def references_frame(runs: Iterable[Run], pool: Pool) -> pd.DataFrame:
    """Floor, baselines and trivial predictor of the tasks of `runs`, with a row per position.

    Columns: REFERENCE_COLUMNS. Values are on the scale on which reports show scores. `overall` is the mean
    over all scored positions where the record has one that is not the mean of the values; else NaN.
    `in_mean`: the mean over positions includes the position.
    """
    scales = {run.task_id: ScoreScale.of(run.task).scale for run in runs}
    parts = [
        pd.DataFrame(
            {
                "task_id": task_id,
                "evaluation": baseline.evaluation,
                "name": baseline.name,
                "kind": baseline.kind,
                "examples": baseline.positions,
                "value": np.asarray(baseline.mean, dtype=float) / scale,
                "standard_error": np.asarray(baseline.standard_error, dtype=float) / scale,
                "overall": baseline.overall[0] / scale if baseline.overall else math.nan,
                "in_mean": np.asarray(baseline.positions) >= pool.baselines[task_id].facts.first_position,
            }
        )
        for task_id, scale in scales.items()
        if task_id in pool.baselines
        for baseline in pool.baselines[task_id].baselines
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=REFERENCE_COLUMNS)


def level(references: pd.DataFrame, kind: str, position: int | None = None) -> tuple[str, float] | None:
    """Name and value of the first baseline of a kind: at a position, or its mean over positions.

    None when it skipped the position, or some position of a mean.
    """
    if position is not None:
        rows = references[(references["kind"] == kind) & (references["examples"] == position)]
        return None if rows.empty else (str(rows["name"].iloc[0]), float(rows["value"].iloc[0]))
    sizes = references.groupby("name", sort=False).size()
    for name, group in references[references["kind"] == kind].groupby("name", sort=False):
        if len(group) == sizes.max():
            overall = group["overall"].iloc[0]
            if math.isnan(overall):
                overall = group.loc[group["in_mean"].astype(bool), "value"].mean()
            return str(name), float(overall)
    return None
