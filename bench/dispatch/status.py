"""Where every planned run stands, read from files alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.dispatch.state import Folder
from bench.results import Pool
from bench.run import Run

Word = Literal["finished", "diverged", "running", "failed", "missing"]
WORDS: tuple[Word, ...] = ("finished", "diverged", "running", "failed", "missing")


@dataclass(frozen=True)
class Standing:
    """The state of one run.

    Attributes:
        word: finished and diverged have a result; running has a live owner; failed has a recorded
            failure; missing is none of them.
        step: optimisation steps known to be done (0 when nothing is known).
        steps_per_second: of a running run.
        loss: the running run's latest training loss.
        note: what a person may want to know: why it failed, where it can go on from.
    """

    word: Word
    step: int = 0
    steps_per_second: float = 0.0
    loss: float | None = None
    note: str = ""


def standings(runs: Iterable[Run], results: Path, pool: Pool) -> dict[str, Standing]:
    """The standing of every run, by id."""
    return {run.id: standing(run, results, pool) for run in runs}


def standing(run: Run, results: Path, pool: Pool) -> Standing:
    """Where one run stands."""
    if (result := pool.runs.get(run.id)) is not None:
        last = result["checkpoints"][-1]["step"] if result["checkpoints"] else 0
        if result["outcome"] == "finished":
            return Standing("finished", last)
        return Standing("diverged", last, note=result["reason"] or "")
    folder = Folder.of(results, run.id)
    if not folder.path.exists():
        return Standing("missing")
    beat = folder.heartbeat() or {}
    step = int(beat.get("step", 0))
    if folder.alive():
        return Standing("running", step, float(beat.get("steps_per_second", 0.0)), beat.get("loss"))
    if (failure := folder.failure()) is not None:
        message = str(failure.get("message", "")).strip().splitlines()
        return Standing("failed", step, note=f"{failure.get('class')}: {message[0] if message else ''}")
    if folder.has_checkpoint():
        return Standing("missing", step, note="interrupted; resumable")
    return Standing("missing")
