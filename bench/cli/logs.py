"""`bench logs`: the output of a run's training."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import Annotated

import typer

from bench import results as pools
from bench.cli import printing
from bench.cli.arguments import RESULTS, Results
from bench.cli.completion import run_ids
from bench.dispatch.slurm.queue import ask_queue
from bench.dispatch.slurm.submission import submissions
from bench.dispatch.state import Folder, log_of
from bench.errors import UserError, did_you_mean
from bench.results import STATE

FOLLOW_SECONDS = 0.5


def command(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="A run's id, its beginning, or its label.", autocompletion=run_ids
        ),
    ],
    results: Results = RESULTS,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=1, max=10**9, help="Number of lines to show.")
    ] = 40,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print new lines until the run ends.")
    ] = False,
) -> None:
    """Print the output of a run's training, whichever machine trains it."""
    show_log(run, results, lines, follow)


def show_log(name: str, results: Path, lines: int, follow: bool) -> None:
    """Print the end of a run's log.

    Args:
        name: the run's id, the beginning of it, or its label (which ends with the id).
        results: the pool of results.
        lines: number of lines to show.
        follow: print new lines until the run ends.

    Raises:
        UserError: no run of that name was started, or the name is ambiguous.
    """
    run_id = _find(name, results)
    out = printing.Output()
    path = log_of(results, run_id)
    if not path.exists():
        _explain(run_id, results, out)
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in deque(file, maxlen=lines):
            out.say(line.rstrip("\n"))
        try:
            while follow and _is_running(run_id, results):
                for line in file:
                    out.say(line.rstrip("\n"))
                time.sleep(FOLLOW_SECONDS)
            for line in file if follow else ():
                out.say(line.rstrip("\n"))
        except KeyboardInterrupt:
            pass


def _find(name: str, results: Path) -> str:
    """The id of the run that a name means.

    Raises:
        UserError: no run of that name was started, or several ids begin with it.
    """
    beginning = pools.id_in(name)
    logs = {path.stem for path in (results / STATE / "logs").glob("*.log")}
    submitted = {
        run
        for submission in submissions(results)
        for array in submission.arrays
        for job in array.jobs
        for run in job
    }
    run_ids = sorted(logs | submitted)
    matches = [run_id for run_id in run_ids if run_id == name] or [
        run_id for run_id in run_ids if run_id.startswith(beginning)
    ]
    if not matches:
        if any(run_id.startswith(beginning) for run_id in pools.load(results).runs):
            raise UserError(f"run {beginning} has a result under {results}, but no log")
        near = did_you_mean(beginning, run_ids) if len(run_ids) < 30 else ""
        ids = "" if near else "; bench plan SUITE lists ids and states"
        raise UserError(f"no run '{name}' was ever started under {results}{near}{ids}")
    if len(matches) > 1:
        raise UserError(f"'{name}' is ambiguous: {', '.join(matches[:10])}")
    return matches[0]


def _explain(run_id: str, results: Path, out: printing.Output) -> None:
    """Explain why a run has no log yet; if its job has begun, print the output of the job."""
    queue = ask_queue(results)
    if (job := queue.runs.get(run_id)) is not None:
        out.say(f"{run_id} has printed nothing yet: job {job.number} is {job.state.lower()} ({job.reason})")
    else:
        out.say(f"{run_id} has printed nothing, and no job in the queue will start it.")
    for submission in reversed(list(submissions(results))):
        for array in submission.arrays:
            for index, runs in enumerate(array.jobs):
                if run_id in runs and array.job_id:
                    job_name = f"{array.job_id}_{index}" if len(array.jobs) > 1 else array.job_id
                    for path in sorted(submission.folder.glob(f"{job_name}_*_log.*")):
                        out.say(f"--- {path}", style="dim")
                        out.say("\n".join(path.read_text(errors="replace").splitlines()[-20:]))
                    return


def _is_running(run_id: str, results: Path) -> bool:
    return Folder.of(results, run_id).alive()
