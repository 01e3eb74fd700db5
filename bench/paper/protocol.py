"""Where the paper's text and its authors' released code differ, and which of the two a task follows.

Most differences are fields of tasks, which `protocol: paper | released_code` sets. Some fields have one
default under both protocols, for a stated reason. The rest are settings that a suite states. A suite can
ask for each value by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from bench.tasks import PROTOCOLS, TASKS, Task


class Difference(NamedTuple):
    """A field with one value in the paper's text and another in the released code.

    Attributes:
        where: what has the field: tasks, an architecture, or "any suite".
        field: its name.
        paper: its value in the text.
        released_code: its value in the released code.
        default: what applies if a suite does not state it, and why.
    """

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
    """Return every difference, those of tasks first. Tasks with the same difference share a row."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for name in TASKS:
        for field, *values in _of_task(name):
            rows.setdefault((field, *values), []).append(name)
    of_tasks = [Difference(", ".join(names), *row) for row, names in rows.items()]
    return [*of_tasks, *ELSEWHERE]


def departure(task: Task, protocol: str) -> tuple[str, Any, Any] | None:
    """Return the first field in which a task departs from a protocol: name, value and the protocol's value.

    None when the task follows the protocol. A task without differences follows both.
    """
    for field, choices in task.protocol_fields.items():
        if getattr(task, field) != choices[protocol]:
            return field, getattr(task, field), choices[protocol]
    return None


def followed(task: Task) -> tuple[str, ...]:
    """Return the protocols that a task follows: both, one, or none where it mixes them."""
    return tuple(protocol for protocol in PROTOCOLS if departure(task, protocol) is None)


def sides(kind: type[Task], field: str) -> tuple[str, str] | None:
    """Return a field's value in the text and in the released code; None where they do not differ."""
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
        if values := sides(kind, field):
            settled = kind.settled_fields.get(field)
            default = (
                f"{shown(kind.model_fields[field].default)}; {settled.why}" if settled else "by protocol"
            )
            yield field, *values, default


def markdown() -> str:
    """The table for a README."""
    header = "| where | field | the text | the released code | default |\n|---|---|---|---|---|"
    rows = (
        f"| {row.where} | `{row.field}` | {row.paper} | {row.released_code} | {row.default} |"
        for row in differences()
    )
    return "\n".join((header, *rows))
