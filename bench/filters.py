"""Filter terms such as `task=linear_regression architecture=mamba*,s4`, and the fields of a run they name."""

from __future__ import annotations

import contextlib
import fnmatch
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from bench.digits import short
from bench.errors import UserError, did_you_mean, nearest
from bench.models.architectures import canonical
from bench.results.record import RecordedRun
from bench.run import SETTINGS, Run, text_of

MOST_LISTED = 30
"""An error lists no more values than this."""
RUN_FIELDS: dict[str, Callable[[Run | RecordedRun], str]] = {
    "task": lambda run: run.task.name,
    "architecture": lambda run: run.architecture.name,
    "layers": lambda run: str(run.size.layers),
    "width": lambda run: str(run.size.width),
    **{name: partial(text_of, name=name) for name in SETTINGS},
}
"""Fields of a run that every filter takes, planned or recorded, with their values as text."""
_TYPES: dict[str, Any] = {
    "layers": int,
    "width": int,
    **{name: Run.model_fields[name].annotation for name in SETTINGS},
}

Candidate = TypeVar("Candidate")


def matching(
    candidates: Sequence[Candidate],
    terms: str,
    fields: Mapping[str, Callable[[Candidate], list[str]]],
    whole: str,
    words: Mapping[str, Iterable[str]] | None = None,
) -> list[Candidate]:
    """The candidates that match every term.

    A term is a field, `=`, and shell patterns separated by commas.

    Args:
        candidates: runs, or results.
        terms: separated by spaces.
        fields: by name, the values of a candidate; a pattern may match any of them.
        whole: what all candidates are, for the message: "the suite's 12 runs".
        words: by field, values that are valid even if no candidate has them now, such as states.

    Raises:
        UserError: for no term, an unknown field, a term without `=`, a pattern that matches nothing, or terms
            that together match nothing.
    """
    chosen = list(candidates)
    if not terms.split():  # an unset variable of a shell; it must not mean everything
        raise UserError(f"the filter is empty, expected field=pattern{_example('', candidates, fields)}")
    for term in terms.split():
        key, patterns = _parsed(term, candidates, fields)
        valid = list((words or {}).get(key, ()))
        if len(patterns) > 1:
            _refuse_strays(
                key, patterns, list(dict.fromkeys([*_values(candidates, fields[key]), *valid])), whole
            )
        before = chosen
        chosen = [candidate for candidate in before if _matches(fields[key](candidate), patterns.values())]
        if not chosen:
            values = _values(before, fields[key])
            right = valid or values
            suggestion = did_you_mean(",".join(patterns), right) if len(right) <= MOST_LISTED else ""
            if values and set(patterns) <= set(valid):
                suggestion = f"; {key} is now {' or '.join(values)}"
            raise UserError(f"filter '{terms}' matches none of {whole}: no {term}{suggestion}")
    return chosen


def _parsed(
    term: str, candidates: Sequence[Candidate], fields: Mapping[str, Callable[[Candidate], list[str]]]
) -> tuple[str, dict[str, str]]:
    """The field of a term and its patterns: by the pattern as written, the pattern in the form of results.

    Raises:
        UserError: the term is not of the form field=pattern, or its field is unknown.
    """
    key, equals, patterns = term.partition("=")
    if not key or not equals or not patterns:
        example = _example(term, candidates, fields)
        raise UserError(f"filter term '{term}' is not of the form field=pattern{example}")
    if not all(patterns.split(",")):
        raise UserError(
            f"filter term '{term}' has an empty pattern: separate patterns by commas without spaces, "
            "as in task=a,b"
        )
    if key not in fields:
        raise UserError(f"unknown filter field '{key}'{did_you_mean(key, fields)}")
    return key, {pattern: _canonical(key, pattern) for pattern in patterns.split(",")}


def _example(
    term: str, candidates: Sequence[Candidate], fields: Mapping[str, Callable[[Candidate], list[str]]]
) -> str:
    """What a text that is not a term should be: the nearest term of these candidates, and all fields.

    `mamba` is near to `architecture=mamba`, `layers:2` and `layers=` are near to `layers=2`.
    """
    values = {field: _values(candidates, read) for field, read in fields.items()}
    field, _, value = re.match(r"(\w*)(\W*)(.*)", term).groups()  # type: ignore[union-attr]
    terms = []
    if of_field := values.get(field):
        terms = [(field, _same(value, of_field) or nearest(value, of_field) or of_field[0])]
    for match in (_same, nearest):
        terms += [(name, near) for name in fields if (near := match(term, values[name])) is not None]
    if terms:
        right = f", did you mean '{'='.join(terms[0])}'?"
    else:
        listed = next(((name, options[0]) for name, options in values.items() if len(options) > 1), None)
        right = f", such as '{'='.join(listed)}'" if listed else ""
    return f"{right}{' Fields' if right.endswith('?') else '; fields'}: {', '.join(fields)}"


def _values(candidates: Iterable[Candidate], read: Callable[[Candidate], list[str]]) -> list[str]:
    """The different values of a field, without empty ones."""
    return list(dict.fromkeys(value for candidate in candidates for value in read(candidate) if value))


def _same(word: str, valid: Iterable[str]) -> str | None:
    """The word itself, or as a shell pattern, if it is one of the valid ones."""
    return word if _matches(valid, [word]) else None


def _refuse_strays(key: str, patterns: Mapping[str, str], values: Collection[str], whole: str) -> None:
    """Refuse a list of patterns of which one matches nothing: it would be left out in silence."""
    for written, pattern in patterns.items():
        if not _matches(values, [pattern]):
            suggestion = did_you_mean(written, values) if len(values) <= MOST_LISTED else ""
            raise UserError(f"filter: none of {whole} has {key}={written}{suggestion}")


def _matches(values: Iterable[str], patterns: Collection[str]) -> bool:
    return any(fnmatch.fnmatchcase(value, pattern) for value in values for pattern in patterns)


def _canonical(key: str, pattern: str) -> str:
    """A pattern in the form that values of runs have: 0.0001 becomes 1e-4, 5e5 and 500_000 become 500000.

    Raises:
        UserError: a fraction where only whole numbers can be.
    """
    if key == "architecture":
        return canonical(pattern)
    if key == "size":  # as plans print it: 2×128
        return pattern.replace("×", "x")
    kind = _TYPES.get(key)
    if kind not in (int, float):
        return pattern
    if kind is int:
        with contextlib.suppress(ValueError):
            return str(int(pattern))  # seeds are larger than floats are exact
    try:
        number = float(pattern)
    except ValueError:
        return pattern
    if kind is float:
        return short(number)
    if not number.is_integer():
        raise UserError(f"filter: {key} is a whole number, not {pattern}")
    return str(int(number))
