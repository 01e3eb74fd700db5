"""What changed between two checks of one suite: which verdicts are others than before."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.check.verdicts import WORDS, Verdict
from bench.errors import UserError


@dataclass(frozen=True)
class Change:
    """One claim whose verdict is not what it was.

    Attributes:
        before: None for a claim that is new.
        after: None for a claim that is gone.
    """

    claim: str
    before: str | None
    after: str | None

    @property
    def lost(self) -> bool:
        """Whether it was reproduced and no longer is."""
        return self.before == "reproduced"


def changes(before: Mapping[str, str], verdicts: Sequence[Verdict]) -> list[Change]:
    """Claims whose verdicts differ: those of now in their order, then those that are gone."""
    after = {one.claim: str(one.verdict) for one in verdicts}
    names = [*after, *(name for name in before if name not in after)]
    return [
        Change(name, before.get(name), after.get(name))
        for name in names
        if before.get(name) != after.get(name)
    ]


def read(path: Path) -> dict[str, str]:
    """Verdicts by claim from a file of `bench check --json` or a report's verdicts.json.

    Raises:
        UserError: when there is no such file, or it holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; bench check SUITE --json > {path} writes one") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error})") from None
    found = verdicts_in(value)
    if found is None:
        raise UserError(f"{path}: is not the output of bench check --json")
    return found


def verdicts_in(value: Any) -> dict[str, str] | None:
    """Verdicts by claim of a parsed file; None when it is not one of ours."""
    entries = value.get("verdicts") if isinstance(value, dict) else None
    if not isinstance(entries, list):
        return None
    found = {}
    for entry in entries:
        if not isinstance(entry, dict) or entry.get("verdict") not in WORDS or "claim" not in entry:
            return None
        found[str(entry["claim"])] = str(entry["verdict"])
    return found
