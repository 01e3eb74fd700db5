"""The record of an order's submission to a cluster: which runs are in which job.

    results/.state/orders/<stamp>/  submission.json  written before anything is submitted
                                    cancelled        `bench cancel` was called
                                    code/            copy of the package (--snapshot)
                                    <job>_0_log.out  output of a job outside of its runs
                                    <job>_0_log.err
                                    <job>-worker-….log  output of its workers outside of runs

A job is identified by its name and index, not by Slurm's number. A name contains the order's stamp and is
never used twice, but a cluster that is set up again counts its jobs from 1.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.dispatch.order import abandoned, orders_folder
from bench.files import read_json, write_json

SUBMITTING_SECONDS = 3600.0
"""If the numbers of some arrays are missing for so long, the process that submitted them is dead."""


@dataclass(frozen=True)
class Array:
    """One array of jobs.

    Attributes:
        name: the name of its jobs in Slurm.
        jobs: ids of the runs and baselines of each job, by index.
        job_id: Slurm's number; None if Slurm has not accepted the array.
    """

    name: str
    jobs: tuple[tuple[str, ...], ...]
    job_id: str | None = None


@dataclass(frozen=True)
class Submission:
    """An order on a cluster.

    Attributes:
        folder: the folder of its record.
        suite: name of the suite.
        user: the user who submitted it, for `squeue`.
        arrays: its arrays.
    """

    folder: Path
    suite: str
    user: str
    arrays: tuple[Array, ...]

    @property
    def cancelled(self) -> bool:
        """Whether `bench cancel` was called."""
        return (self.folder / "cancelled").exists()

    @property
    def may_be_unfinished(self) -> bool:
        """Whether a process may still be submitting arrays of it."""
        try:
            age = time.time() - (self.folder / "submission.json").stat().st_mtime
        except OSError:
            return False
        return age < SUBMITTING_SECONDS and any(array.job_id is None for array in self.arrays)

    def mark_cancelled(self) -> None:
        """Record that the user has cancelled it."""
        (self.folder / "cancelled").touch()

    def unmark_cancelled(self) -> None:
        """Take `mark_cancelled` back."""
        (self.folder / "cancelled").unlink(missing_ok=True)

    def write(self) -> None:
        """Store the record."""
        arrays = [{"name": array.name, "job": array.job_id, "jobs": array.jobs} for array in self.arrays]
        value = {"format": 1, "suite": self.suite, "user": self.user, "arrays": arrays}
        write_json(self.folder / "submission.json", value)

    def tidy(self) -> None:
        """Remove pickles, scripts and code. Only to be called when none of its jobs is queued any more."""
        for pattern in ("*.pkl", "*.pkl.save_tmp", ".submission_file_*", "*_submission.sh"):
            for path in self.folder.glob(pattern):
                with contextlib.suppress(OSError):
                    path.unlink()
        shutil.rmtree(self.folder / "code", ignore_errors=True)


def submissions(results: Path) -> Iterator[Submission]:
    """Every submission with a record under `results`, the oldest first."""
    for path in sorted(orders_folder(results).glob("*/submission.json")):
        try:
            yield _parse(path.parent, read_json(path))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # damaged, or an older format; the files of the runs suffice


def why_abandoned(results: Path, suite: str) -> str | None:
    """Why the order of a suite's last submission was abandoned; None if it was not, or if there is none."""
    submitted = [submission for submission in submissions(results) if submission.suite == suite]
    return abandoned(submitted[-1].folder) if submitted else None


def _parse(folder: Path, value: dict[str, Any]) -> Submission:
    arrays = tuple(
        Array(str(array["name"]), tuple(tuple(map(str, runs)) for runs in array["jobs"]), array["job"])
        for array in value["arrays"]
    )
    return Submission(folder, str(value["suite"]), str(value["user"]), arrays)


def user_name() -> str:
    """This process's user, as Slurm names it."""
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
