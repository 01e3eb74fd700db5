"""Signals that stop a command. Each raises an exception, which `except Exception` does not catch.

The first process of a container has no default handler for SIGTERM. Without a handler of its own, it would
run on until it is killed.
"""

from __future__ import annotations

import signal
import threading

STOPS = (signal.SIGTERM, signal.SIGHUP)
"""In addition to SIGINT, for which Python raises KeyboardInterrupt."""
received: int | None = None
"""The signal that told this process to stop."""


class Terminated(BaseException):
    """A signal of `STOPS` tells this process to stop."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(signal.Signals(number).name)


def listen() -> None:
    """Raise `Terminated` at a stop signal, and note every stop. An ignored signal (nohup) stays ignored."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (*STOPS, signal.SIGINT):
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _raise)


def exit_code(stop: int | BaseException) -> int:
    """The exit code that shells report after a signal: 130 for SIGINT, 143 for SIGTERM.

    Args:
        stop: the number of the signal, or the exception that it raised.
    """
    if isinstance(stop, BaseException):
        stop = stop.number if isinstance(stop, Terminated) else signal.SIGINT
    return 128 + stop


def _raise(number: int, frame: object) -> None:
    global received
    received = number
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number)
