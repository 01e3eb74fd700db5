"""Tables of all results: for notebooks, spreadsheets and other programs.

`TABLES` lists the tables. `bench export` writes them, and a function loads each into a notebook.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.errors import UserError, check_type, did_you_mean
from bench.files import check_can_write
from bench.results import long, table
from bench.results.store import Pool, load, require

if TYPE_CHECKING:
    import pandas as pd


class ExportTable(NamedTuple):
    """A table of results.

    Attributes:
        rows: what a row stands for, in words.
        columns: columns and their meaning.
        build: makes the data frame from a pool.
    """

    rows: str
    columns: Mapping[str, str]
    build: Callable[[Pool], pd.DataFrame]


TABLES = {
    "results": ExportTable("run and checkpoint", {**table.DESCRIBED, **table.FURTHER}, table.frame),
    "positions": ExportTable(
        "run, checkpoint, evaluation and position", long.POSITIONS, long.positions_frame
    ),
    "curves": ExportTable("run and window of training steps", long.CURVES, long.curves_frame),
    "prompts": ExportTable("finished run and test prompt", long.PROMPTS, long.prompts_frame),
    "pieces": ExportTable("run and process that trained a part of it", long.PIECES, long.pieces_frame),
    "evaluations": ExportTable(
        "stored evaluation on other prompts, and position",
        long.EVALUATIONS,
        long.evaluations_frame,
    ),
    "baselines": ExportTable("task, untrained predictor and position", long.BASELINES, long.baselines_frame),
}
"""By the name that `bench export --table` takes."""


def load_table(name: str, results: str | Path = "results") -> pd.DataFrame:
    """Load one of TABLES from every result under a folder.

    Files that are not results are left out and listed in the frame's `attrs["problems"]`.

    Raises:
        UserError: when there is no such table or no such folder.
    """
    check_type("results", results, str | Path, "the path of a folder of results")
    if name not in TABLES:
        raise UserError(f"unknown table '{name}'{did_you_mean(name, TABLES)}")
    pool = load(require(Path(results)))
    frame = TABLES[name].build(pool)
    frame.attrs["problems"] = pool.problems
    return frame


def load_results(results: str | Path = "results") -> pd.DataFrame:
    """Load runs: their settings and scores, with a row per run and checkpoint.

    `bench export --describe` explains the columns. The rest is as in `load_table`.
    """
    return load_table("results", results)


def load_positions(results: str | Path = "results") -> pd.DataFrame:
    """Load scores by position, with a row per run, checkpoint, evaluation and position (`load_table`)."""
    return load_table("positions", results)


def load_curves(results: str | Path = "results") -> pd.DataFrame:
    """Load training curves, with a row per run and window of steps (`load_table`)."""
    return load_table("curves", results)


def load_prompt_scores(results: str | Path = "results") -> pd.DataFrame:
    """Load scores of single test prompts at the last checkpoint, a row per run and prompt (`load_table`)."""
    return load_table("prompts", results)


def load_pieces(results: str | Path = "results") -> pd.DataFrame:
    """Load which processes trained which steps, on what and with which kernels, a row per run and process.

    The rest is as in `load_table`.
    """
    return load_table("pieces", results)


def load_evaluations(results: str | Path = "results") -> pd.DataFrame:
    """Load stored scores of models on other prompts, a row per evaluation and position (`load_table`)."""
    return load_table("evaluations", results)


def load_baseline_scores(results: str | Path = "results") -> pd.DataFrame:
    """Load scores of untrained predictors, with a row per task, predictor and position (`load_table`)."""
    return load_table("baselines", results)


def write(frame: pd.DataFrame, path: Path) -> None:
    """Write the table in the format of the file's ending, atomically: a failure leaves nothing behind.

    Raises:
        UserError: for another ending, or when Parquet's library is not installed.
        OSError: when the file cannot be written.
    """
    if path.suffix not in (".csv", ".parquet"):
        raise UserError(f"{path}: expected a name that ends in .parquet or .csv")
    unfinished = path.with_name(f".{path.name}.unfinished")
    check_can_write(path)
    try:
        if path.suffix == ".csv":
            frame.to_csv(unfinished, index=False)
        else:
            frame.to_parquet(unfinished, index=False)
        unfinished.replace(path)
    except ImportError:
        raise UserError("Parquet needs pyarrow: pip install 'icl-bench[parquet]', or export x.csv") from None
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
