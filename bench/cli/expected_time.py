"""The time that runs are expected to take, for `bench run` to print and to ask about."""

from __future__ import annotations

from bench.cli import printing
from bench.cli.arguments import SuiteChoice
from bench.digits import count_of
from bench.plan.planned import Planned, Total


def expected_cost(todo: list[Planned], choice: SuiteChoice, workers: int, device: str | None = None) -> str:
    """The expected time as text, with its basis and the command that measures an unknown time.

    The text names `device`, the one that was measured, where other devices train.
    """
    total = Total.of(entry.remaining_seconds for entry in todo)
    how_to = f"no similar run was measured; measure on the device that trains: bench speed {choice}"
    if total.seconds is None:
        return f"an unknown time ({how_to})"
    estimated = [entry for entry in todo if entry.remaining_seconds is not None]
    used = count_of(min(len(todo), workers), "worker") + (f" with {device}" if device else "")
    seconds = _seconds([entry.remaining_seconds or 0.0 for entry in estimated], workers)
    time = f"{printing.duration(seconds)} on {used}"
    if total.unknown:
        return f"at least {time}, with {count_of(total.unknown, 'run')} unknown ({how_to})"
    measured = all(entry.estimate.basis == "measured" for entry in todo)
    return f"about {time} ({'at' if measured else 'scaled from'} measured speeds)"


def cautious_seconds(todo: list[Planned], workers: int, kind: str) -> float:
    """Expected wall-clock time on so many workers; unknown runs count as slow ones."""
    return _seconds([entry.cautious_seconds(kind) for entry in todo], workers)


def _seconds(seconds: list[float], workers: int) -> float:
    """Wall-clock time of runs that take so many seconds each; no shorter than the longest run."""
    return max(sum(seconds) / workers, max(seconds, default=0.0))
