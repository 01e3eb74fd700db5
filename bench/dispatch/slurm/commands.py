"""Slurm's commands: what they print, or why they print nothing."""

from __future__ import annotations

import subprocess


class NoAnswer(Exception):
    """A command of Slurm failed or did not answer in time. The message is the reason."""


class NoCommand(NoAnswer):
    """This machine does not have the command, as in a container without Slurm."""


def output_of(*command: str, seconds: float) -> str:
    """The standard output of a command.

    Args:
        command: the command and its arguments.
        seconds: longest wait for the answer. Without a controller, Slurm's commands wait about nine seconds.

    Raises:
        NoAnswer: the command failed, with the last line of its errors, or did not end in time.
        NoCommand: there is no such command.
    """
    name = command[0]
    try:
        # A job of another program may have any bytes in its name.
        process = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=seconds, check=False
        )
    except FileNotFoundError:
        raise NoCommand(f"there is no {name} on this machine") from None
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"{name} did not answer within {seconds:.0f} s") from None
    except OSError as error:
        raise NoAnswer(f"{name} cannot be started ({error.strerror})") from None
    if process.returncode:
        raise NoAnswer((process.stderr.strip().splitlines() or [f"{name} failed"])[-1])
    return process.stdout
