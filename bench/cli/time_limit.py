"""`bench run --for`: how long the command may take, and how much of that saving needs."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.cli import printing
from bench.errors import UserError
from bench.plan.planned import Planned

UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}
UNFINISHED = 75
"""Exit code when the time is over and runs are left: EX_TEMPFAIL of sysexits.h, which means "try again"."""
LAST_SECONDS = 3.0
"""Time for printing what is left, after the workers have ended."""
LEAVE_SECONDS = 9.0
"""Time for the workers to notice their signal and to end, and for printing what is left."""
SAVED_BYTES_PER_SECOND = 150e6
"""Cautious speed of saving: states are copied from the devices to a disk that all workers share."""
SAVED_BYTES_PER_PARAMETER = 12
"""Size of a saved state: the parameter and Adam's two moments, in fp32."""


class TimeUp(BaseException):
    """The time of `--for` is over. It passes `except Exception`, like `bench.cli.signals.Terminated`."""

    def __init__(self, seconds_left: float | None) -> None:
        self.seconds_left = seconds_left
        """Expected time of the remaining work; None if unknown."""
        super().__init__("time is up")


@dataclass(frozen=True)
class Deadline:
    """When the command must end, and when it must begin to save, both as `time.monotonic()`."""

    end: float
    save: float

    @classmethod
    def of(cls, limit: float, todo: Sequence[Planned], workers: int) -> Deadline:
        """The deadline of a command that started when this process did.

        Args:
            limit: seconds that the command may take.
            todo: the runs to train.
            workers: how many workers save at the same time.

        Raises:
            UserError: when no time to train remains.
        """
        saving = saving_seconds(todo, workers)
        end = time.monotonic() - process_age() + limit
        if end - saving <= time.monotonic():
            raise UserError(
                f"--for {limit:g}s leaves no time to train: {printing.duration(process_age())} have passed "
                f"since the start, and saving needs {printing.duration(saving)}; give a longer time"
            )
        return cls(end, end - saving)


def saving_seconds(todo: Sequence[Planned], workers: int) -> float:
    """Seconds that are reserved for saving: a fixed part, and the time to write the largest states."""
    states: dict[int, int] = {}
    for entry in todo:
        states[entry.stack] = states.get(entry.stack, 0) + entry.run.parameters
    largest = sorted(states.values(), reverse=True)[:workers]
    return LEAVE_SECONDS + sum(largest) * SAVED_BYTES_PER_PARAMETER / SAVED_BYTES_PER_SECOND


def seconds_of(text: str) -> float:
    """The seconds of a duration such as 90s, 9m, 1h30m or 1.5h.

    Raises:
        UserError: for other texts, and for zero.
    """
    match = re.fullmatch(
        r"(?:(?P<h>\d+(?:\.\d+)?)h)?(?:(?P<m>\d+(?:\.\d+)?)m)?(?:(?P<s>\d+(?:\.\d+)?)s)?", text.strip()
    )
    parts = match.groupdict() if match else {}
    seconds = sum(float(number) * UNITS[unit] for unit, number in parts.items() if number)
    if seconds <= 0:
        raise UserError(f"--for {text}: expected a duration such as 90s, 9m or 1h30m")
    return seconds


def process_age() -> float:
    """Seconds since this process started; on systems without /proc its processor time, which is less."""
    try:
        with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:
            # The name of the process, in parentheses, may contain spaces. `starttime` is field 22.
            started = float(file.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)
    except (OSError, ValueError, IndexError, AttributeError):
        return time.process_time()
