"""Verdicts that changed between two checks of one suite, and the file of an earlier check."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.check.verdict import DECIDED, WORDS, Verdict
from bench.errors import UserError

_EARLIER = {"not reproduced": "contradicted"}
"""Words of files written before a verdict was renamed."""


@dataclass(frozen=True)
class Change:
    """One claim whose verdict changed.

    Attributes:
        before: None for a new claim.
        after: None for a claim that was removed.
    """

    claim: str
    before: str | None
    after: str | None

    @property
    def lost(self) -> bool:
        """Whether the claim was reproduced before, and is not now."""
        return self.before == "reproduced"


def changes(before: Mapping[str, str], verdicts: Sequence[Verdict]) -> list[Change]:
    """The changes since `before` (verdict by claim): claims in their order, then removed ones."""
    after = {verdict.claim: str(verdict.verdict) for verdict in verdicts}
    names = [*after, *(name for name in before if name not in after)]
    return [
        Change(name, before.get(name), after.get(name))
        for name in names
        if before.get(name) != after.get(name)
    ]


def exit_code(changes: Sequence[Change], verdicts: Sequence[Verdict]) -> int:
    """1: a claim that was reproduced is not now. 2: no claim is decided, so none could be lost. Else 0."""
    if any(change.lost for change in changes):
        return 1
    return 0 if any(verdict.verdict in DECIDED for verdict in verdicts) else 2


def read(path: Path) -> dict[str, str]:
    """Read verdicts by claim from the output of `bench check --json` or a report's verdicts.json.

    Raises:
        UserError: when there is no such file, or it has another format.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; bench check SUITE --json > {path} writes one") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error})") from None
    verdicts = verdicts_in(value)
    if verdicts is None:
        raise UserError(f"{path}: is not the output of bench check --json")
    return verdicts


def verdicts_in(value: Any) -> dict[str, str] | None:
    """Verdicts by claim in a parsed file; None when it has another format."""
    entries = value.get("verdicts") if isinstance(value, dict) else None
    if not isinstance(entries, list):
        return None
    verdicts = {}
    for entry in entries:
        word = entry.get("verdict") if isinstance(entry, dict) else None
        word = _EARLIER.get(str(word), word)
        if word not in WORDS or "claim" not in entry:
            return None
        verdicts[str(entry["claim"])] = str(word)
    return verdicts
