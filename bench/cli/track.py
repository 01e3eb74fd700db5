"""`bench run --track`: a tracker follows the training of this command."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.cli import printing
from bench.cli.time_limit import LAST_SECONDS, Deadline
from bench.plan.planned import Planned
from bench.tracking import Tracking


@contextlib.contextmanager
def tracked(
    tracker: str | None,
    project: str,
    todo: Sequence[Planned],
    results: Path,
    deadline: Deadline | None,
    out: printing.Output,
) -> Iterator[None]:
    """A context in which a tracker follows the runs, if one is asked for. Its fault is one warning."""
    if tracker is None:
        yield
        return
    tracking = Tracking.start(tracker, project, [entry.run for entry in todo], results.absolute())
    if deadline is not None:
        tracking.patience = LAST_SECONDS / 3  # the rest is for the last lines of this command
    try:
        with tracking:
            yield
    finally:
        if tracking.warning:
            with contextlib.suppress(OSError, SystemExit):  # the terminal may be gone
                text = f"{tracker} stopped: {tracking.warning}. The training is not affected."
                out.say(text, style="yellow")
