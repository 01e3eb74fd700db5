"""Where the paper's text and its authors' released code differ, as one table made from the code.

Most differences are fields of tasks, which `protocol: paper | released_code` sets. Others are fields
whose default holds under both protocols, for the reason given, or things that a suite states: each can
be had by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from bench.tasks import TASKS, Task


class Difference(NamedTuple):
    """One row: what differs, what each source says, and what holds unless a suite says otherwise."""

    where: str
    field: str
    paper: str
    released_code: str
    default: str


ELSEWHERE = (
    Difference(
        "s4_mamba", "dropout", "0.0", "0.1", "0.1; §3.1 calls the S4 block the only difference from Mamba"
    ),
    Difference("s4_mamba", "gate", "silu", "identity", "identity, for the same reason"),
    Difference("s4_mamba", "skip", "ones", "normal", "normal, for the same reason"),
    Difference(
        "any suite",
        "clip",
        "5, 10 and 50, searched",
        "10; each GPU by the norm of its own shard",
        "10, by the norm of the whole gradient",
    ),
    Difference(
        "any suite", "learning_rates", "1e-4, and three others", "4e-4 for trees and parity", "none: stated"
    ),
    Difference("many_outlier_regression", "steps", "500,000", "1,000,001", "none: stated by the suite"),
    Difference("any suite", "optimizer", "adam; adamw in Appendix C", "adam", "adam"),
)
"""Differences in what a suite states beside its tasks."""


def differences() -> list[Difference]:
    """Every difference, tasks first, in their order; tasks that share one share its row."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for name in TASKS:
        for field, *values in _of_task(name):
            rows.setdefault((field, *values), []).append(name)
    found = [Difference(_names(names), *row) for row, names in rows.items()]
    return [*found, *ELSEWHERE]


def sides(kind: type[Task], field: str) -> tuple[str, str] | None:
    """What the text and the released code say of a task's field; None where they do not differ."""
    if field in kind.protocol_fields:
        choices = kind.protocol_fields[field]
        return shown(choices["paper"]), shown(choices["released_code"])
    if field in kind.settled_fields:
        settled = kind.settled_fields[field]
        return shown(settled.paper), shown(settled.released_code)
    return None


def shown(value: Any) -> str:
    """A field's value as a suite would state it."""
    return value if isinstance(value, str) else json.dumps(value)


def _of_task(name: str) -> Iterator[tuple[str, str, str, str]]:
    kind = TASKS[name]
    for field in kind.model_fields:
        if found := sides(kind, field):
            settled = kind.settled_fields.get(field)
            default = (
                f"{shown(kind.model_fields[field].default)}; {settled.why}" if settled else "by protocol"
            )
            yield field, *found, default


def _names(tasks: list[str]) -> str:
    if len(tasks) <= 2:
        return ", ".join(tasks)
    return f"{len(tasks)} tasks: all but {', '.join(name for name in TASKS if name not in tasks)}"


def markdown() -> str:
    """The table for a README."""
    header = "| where | field | the text | the released code | default |\n|---|---|---|---|---|"
    rows = (
        f"| {one.where} | `{one.field}` | {one.paper} | {one.released_code} | {one.default} |"
        for one in differences()
    )
    return "\n".join((header, *rows))
