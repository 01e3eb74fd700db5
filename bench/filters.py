"""Terms such as `task=linear_regression architecture=mamba*,s4`: which of many things are meant."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from bench.errors import UserError, did_you_mean
from bench.run import short

MOST_LISTED = 30
"""An error lists no more values than this."""
_NUMBERS = ("layers", "width", "learning_rate", "clip", "steps", "seed")

Thing = TypeVar("Thing")


def matching(
    things: Sequence[Thing], terms: str, fields: Mapping[str, Callable[[Thing], list[str]]], whole: str
) -> list[Thing]:
    """The things that match every term.

    A term is a field, `=`, and shell patterns separated by commas.

    Args:
        things: what to choose from.
        terms: separated by spaces.
        fields: by name, the values of a thing; a pattern may match any of them.
        whole: what all things are, for the message: "the suite's 12 runs".

    Raises:
        UserError: for an unknown field, a term without `=`, or terms that match nothing.
    """
    chosen = list(things)
    for term in terms.split():
        key, equals, patterns = term.partition("=")
        if not equals or not patterns:
            raise UserError(f"filter term '{term}' is not of the form field=pattern")
        if key not in fields:
            raise UserError(f"unknown filter field '{key}'{did_you_mean(key, fields)}")
        wanted = [_canonical(key, pattern) for pattern in patterns.split(",")]
        before, chosen = chosen, [thing for thing in chosen if _matches(fields[key](thing), wanted)]
        if not chosen:
            there = dict.fromkeys(value for thing in before for value in fields[key](thing) if value)
            suggestion = did_you_mean(patterns, there) if len(there) <= MOST_LISTED else ""
            raise UserError(f"filter '{terms}' matches none of {whole}: no {term}{suggestion}")
    return chosen


def _matches(values: list[str], patterns: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(value, pattern) for value in values for pattern in patterns)


def _canonical(key: str, pattern: str) -> str:
    """Numbers however they are written: 0.0001 finds 1e-4, 5e5 and 500_000 find 500000."""
    if key in _NUMBERS:
        try:
            number = float(pattern)
        except ValueError:
            return pattern
        return short(number) if key in ("learning_rate", "clip") else f"{number:.0f}"
    return pattern
