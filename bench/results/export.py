"""All results as one table: for notebooks, spreadsheets and other programs."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UserError
from bench.results.store import load, require
from bench.results.table import frame as frame_of

if TYPE_CHECKING:
    import pandas as pd


def load_results(results: str | Path = "results") -> pd.DataFrame:
    """Load every result under a folder into a data frame, with a row per run and checkpoint.

    The frame is the one that `bench export` writes; `bench.results.table.DESCRIBED` explains its columns.
    Files that are not results are left out and listed in the frame's `attrs["problems"]`.

    Raises:
        UserError: when there is no such folder.
    """
    folder = require(Path(results))
    pool = load(folder)
    frame = frame_of(pool)
    # Int64 keeps whole numbers whole where some are missing. FLOPs can exceed 64 bits, so they are floats.
    kinds = {"training_flops": float, "training_flops_full_length": float}
    frame = frame.astype({"heads": "Int64", "convergence_step": "Int64", **kinds})
    frame.attrs["problems"] = pool.problems
    return frame


def write(frame: pd.DataFrame, path: Path) -> None:
    """Write the table in the format of the file's ending, atomically: a failure leaves nothing behind.

    Raises:
        UserError: for another ending, or when Parquet's library is not installed.
        OSError: when the file cannot be written.
    """
    if path.suffix not in (".csv", ".parquet"):
        raise UserError(f"{path}: expected a name that ends in .parquet or .csv")
    unfinished = path.with_name(f".{path.name}.unfinished")
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
