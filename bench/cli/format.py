"""How numbers are printed: one way everywhere."""

from __future__ import annotations

from rich.console import Console

STATE_STYLES = {
    "finished": "green",
    "running": "cyan",
    "diverged": "yellow",
    "failed": "red",
    "missing": "dim",
}


def console() -> Console:
    """Standard output. Wide enough for a table when it is not a terminal, so that nothing is cut."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(highlight=False, width=160)


def flops(count: float) -> str:
    """FLOPs with two decimals: 1.37e+18 as 1.37e18; zero as 0."""
    return "0" if not count else f"{count:.2e}".replace("e+", "e").replace("e0", "e")


def parameters(count: int) -> str:
    """Parameter counts as the paper writes them: 86M, 3.2M, 467K."""
    if count >= 1e7:
        return f"{count / 1e6:.0f}M"
    if count >= 1e6:
        return f"{count / 1e6:.1f}M"
    return f"{count / 1e3:.0f}K" if count >= 1e4 else f"{count / 1e3:.1f}K"


def duration(seconds: float) -> str:
    """A duration as people say it: 12 s, 3 min, 1.4 h, 83 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 10 else f"{hours:,.0f} h"


def count(number: int, noun: str) -> str:
    """`1 run`, `3 runs`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
