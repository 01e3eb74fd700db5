"""Signals that ask a command to stop: heard by every command, also where nobody else would.

The first process of a container has no default for SIGTERM: unless it listens, nothing happens until it is
killed. So every command listens, and a stop is an exception that passes `except Exception`.
"""

from __future__ import annotations

import signal
import threading

STOPS = (signal.SIGTERM, signal.SIGHUP)
"""Beside SIGINT, for which Python raises KeyboardInterrupt."""


class Terminated(BaseException):
    """A signal asked this process to stop."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(signal.Signals(number).name)


def listen() -> None:
    """Raise `Terminated` at a stop signal; one that was ignored (nohup) stays ignored."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in STOPS:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _raise)


def exit_code(stop: BaseException) -> int:
    """What a shell says of a process that a signal ended: 130 for SIGINT, 143 for SIGTERM."""
    return 128 + (stop.number if isinstance(stop, Terminated) else signal.SIGINT)


def _raise(number: int, frame: object) -> None:
    raise Terminated(number)
