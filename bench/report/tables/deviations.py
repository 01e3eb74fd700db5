"""Where the paper's text and its released code differ, and what the tasks of a suite do."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pandas as pd

from bench.paper.protocol import differences, followed
from bench.report.tables.table import Table, TableCell
from bench.tasks import TASKS

if TYPE_CHECKING:
    from bench.suite import Suite


def deviations(suite: Suite) -> Table:
    """Where the paper's text and its released code differ, and what the suite's tasks do."""
    tasks = {run.task.name for run in suite.runs}
    rows = [difference for difference in differences() if _concerns(difference.where, tasks)]
    cells = [
        [
            TableCell(difference.where),
            TableCell(difference.field),
            TableCell(difference.paper),
            TableCell(difference.released_code),
            TableCell(difference.default),
        ]
        for difference in rows
    ]
    caption = (
        "Where the paper's text and its authors' code differ, and what holds unless a suite says otherwise. "
        f"Protocols of this suite's runs: {_followed(suite)}."
    )
    columns = ["where", "field", "the text", "the released code", "default"]
    numbers = pd.DataFrame([difference._asdict() for difference in rows])
    return Table("deviations", caption, columns, cells, numbers, frozenset(columns))


def _concerns(where: str, tasks: set[str]) -> bool:
    """Whether a difference concerns a suite: it does not if it is about tasks that the suite lacks."""
    named = where.split(", ")
    return not all(name in TASKS for name in named) or any(name in tasks for name in named)


def _followed(suite: Suite) -> str:
    """Count the runs that follow the text, the released code, either or a mixture."""
    counts: Counter[str] = Counter()
    for run in suite.runs:
        protocols = followed(run.task)
        either = len(protocols) == 2
        counts["either (its task has no difference)" if either else (protocols or ("mixed",))[0]] += 1
    return ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.most_common())
