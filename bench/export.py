"""All results as one table: for notebooks, spreadsheets and other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench import results as pool_of
from bench.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

DESCRIBED = {
    "id": "the run's id: the hash of every field that moves its numbers",
    "outcome": "finished or diverged",
    "task": "the task's name",
    "task_id": "identifies the task's settings and its evaluation prompts; equal ones are comparable",
    "architecture": "the architecture's name, with its options",
    "layers": "layers of two blocks",
    "width": "nominal width",
    "heads": "attention heads; missing without attention",
    "size_group": "Table 6's name for the size; missing for others",
    "learning_rate": "peak learning rate",
    "clip": "the gradient's norm is clipped to this",
    "optimizer": "adam or adamw",
    "batch_size": "prompts a step",
    "steps": "training steps of the whole run",
    "seed": "of initialisation and data",
    "precision": "of matrix products",
    "parameters": "trainable parameters, read-in and read-out included",
    "step": "the checkpoint; 0 for a run that diverged before its first",
    "training_flops": "training FLOPs up to the checkpoint (Appendix B), curriculum counted",
    "score": "raw headline score on the report prompts: squared error or accuracy",
    "score_se": "its standard error over prompts",
    "error": "the score as an error: squared error over what the trivial predictor scores, or 1 − accuracy",
    "error_se": "its standard error over prompts",
    "selection_error": "the same on the selection prompts, by which learning rates are chosen",
    "selection_error_se": "its standard error over prompts",
    "convergence_step": "step of the first checkpoint at which a task counts as learned; missing if never",
    "steps_per_second": "training speed",
    "device": "what it was trained on",
}
"""Columns and what they mean. Scores are of the task's headline: the mean over positions, or a mark."""


def load_results(results: str | Path = "results") -> pd.DataFrame:
    """Every result under a folder, a row a run and checkpoint: `bench export` as a data frame.

    Columns are those of `bench.export.DESCRIBED`. Files that are not results are left out and listed in
    the frame's `attrs["problems"]`.

    Raises:
        UserError: when there is no such folder.
    """
    folder = Path(results)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of results")
    pool = pool_of.load(folder)
    frame = pool_of.frame(pool)
    # Whole numbers that may be missing stay whole numbers; FLOPs can be more than 64 bits hold.
    frame = frame.astype({"heads": "Int64", "convergence_step": "Int64", "training_flops": float})
    frame.attrs["problems"] = pool.problems
    return frame


def write(frame: pd.DataFrame, path: Path) -> None:
    """Write the table as its ending says, whole or not at all.

    Raises:
        UserError: for another ending, or without what Parquet needs.
    """
    if path.suffix not in (".csv", ".parquet"):
        raise UserError(f"{path}: expected a name that ends in .parquet or .csv")
    unfinished = path.with_name(f".{path.name}.unfinished")
    if path.suffix == ".csv":
        frame.to_csv(unfinished, index=False)
    else:
        try:
            frame.to_parquet(unfinished, index=False)
        except ImportError:
            raise UserError(
                "Parquet needs pyarrow: pip install 'icl-bench[parquet]', or export x.csv"
            ) from None
    unfinished.replace(path)
