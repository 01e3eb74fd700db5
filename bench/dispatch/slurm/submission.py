"""The record of an order's submission to a cluster: which runs are in which job.

    results/.state/orders/<stamp>/  submission.json  written before anything is submitted
                                    cancelled        `bench cancel` was called
                                    code/            the package as it was submitted (--snapshot)
                                    <job>_0_log.out  what a job printed outside of its runs
                                    <job>_0_log.err
                                    <job>-worker-….log  and its workers

Jobs are known by name and index, not by number: a name has the order's stamp in it and is never used
twice, while a cluster that was set up anew counts its jobs from one again.
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

from bench.dispatch.order import orders_folder, stopped
from bench.files import read_json, write_json

SUBMITTING_SECONDS = 3600.0
"""After so long without the numbers of all its jobs, the submitting process is considered dead."""


@dataclass(frozen=True)
class Array:
    """One array of jobs.

    Attributes:
        name: its Slurm job name.
        jobs: for every index, the ids of the runs (and baselines) that job does.
        job_id: Slurm's number; None when it was not accepted, or not yet.
    """

    name: str
    jobs: tuple[tuple[str, ...], ...]
    job_id: str | None = None


@dataclass(frozen=True)
class Submission:
    """An order on a cluster.

    Attributes:
        folder: where its record is.
        suite: name of the suite.
        user: who submitted it; `squeue` is asked for this user.
        arrays: all of its arrays.
    """

    folder: Path
    suite: str
    user: str
    arrays: tuple[Array, ...]

    @property
    def cancelled(self) -> bool:
        """Whether `bench cancel` took it back."""
        return (self.folder / "cancelled").exists()

    @property
    def going_on(self) -> bool:
        """Whether another process may be submitting it right now."""
        try:
            age = time.time() - (self.folder / "submission.json").stat().st_mtime
        except OSError:
            return False
        return age < SUBMITTING_SECONDS and any(array.job_id is None for array in self.arrays)

    def mark_cancelled(self) -> None:
        """Remember that the user took it back."""
        (self.folder / "cancelled").touch()

    def write(self) -> None:
        """Store the record."""
        arrays = [{"name": array.name, "job": array.job_id, "jobs": array.jobs} for array in self.arrays]
        value = {"format": 1, "suite": self.suite, "user": self.user, "arrays": arrays}
        write_json(self.folder / "submission.json", value)

    def tidy(self) -> None:
        """Remove what its jobs needed: pickles, scripts, code. Only when none of them is queued any more."""
        for pattern in ("*.pkl", "*.pkl.save_tmp", ".submission_file_*", "*_submission.sh"):
            for path in self.folder.glob(pattern):
                with contextlib.suppress(OSError):
                    path.unlink()
        shutil.rmtree(self.folder / "code", ignore_errors=True)


def submissions(results: Path) -> Iterator[Submission]:
    """Every submission that left a record under `results`, oldest first."""
    for path in sorted(orders_folder(results).glob("*/submission.json")):
        try:
            yield _parse(path.parent, read_json(path))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # damaged, or an older format: the runs' own files suffice


def why_abandoned(results: Path, suite: str) -> str | None:
    """Why the last submission of a suite was abandoned; None if it was not, or if there is none."""
    submitted = [submission for submission in submissions(results) if submission.suite == suite]
    return stopped(submitted[-1].folder) if submitted else None


def _parse(folder: Path, value: dict[str, Any]) -> Submission:
    arrays = tuple(
        Array(str(array["name"]), tuple(tuple(map(str, runs)) for runs in array["jobs"]), array["job"])
        for array in value["arrays"]
    )
    return Submission(folder, str(value["suite"]), str(value["user"]), arrays)


def user_name() -> str:
    """The user whose jobs these are, as Slurm names it."""
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
