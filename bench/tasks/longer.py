"""Evaluations on prompts that are longer than those of training, for `Task.longer_evaluations`.

A task whose prompts contain prompts of every shorter length needs one evaluation (`longer_by_position`). A
task whose longer prompts have another layout, such as more pairs before more queries, needs one for each
length (`longer_by_factors`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.tasks.task import LONGER, MAIN, LongerEvaluation, Task

FACTORS = (2, 4)
"""Lengths of longer prompts, in multiples of the trained number of points."""
MOST_COLUMNS = 64
"""Largest number of equally spaced columns of a longer evaluation, so that results stay small."""


def longer_by_position(task: Task, factors: Sequence[int] = FACTORS) -> dict[str, LongerEvaluation]:
    """One evaluation on prompts with `factors[-1]` times as many points as in training.

    A prediction depends on earlier tokens only, so these prompts contain prompts of every shorter length.
    The mark "2x_length" is the last point of prompts of twice the length.

    Args:
        task: a task with the field `n_points`.
        factors: lengths in multiples of the trained number of points, rising; each gets a mark.

    Returns:
        The evaluation by its name, `LONGER`; empty if the task refuses so many points.
    """
    n = task.n_points
    longer = task.lengthened(n_points=factors[-1] * n)
    if longer is None:
        return {}
    main = longer.evaluations()[MAIN]
    beyond = [column for column, position in enumerate(main.positions) if position >= n]
    ends = {
        f"{factor}x_length": max(column for column in beyond if main.positions[column] < factor * n)
        for factor in factors
    }
    columns = _thinned(beyond, list(ends.values()))
    description = main._replace(
        positions=tuple(main.positions[column] for column in columns),
        marks={name: columns.index(column) for name, column in ends.items()},
    )
    return {LONGER: LongerEvaluation(longer, columns, description)}


def longer_by_factors(task: Task, fields: Mapping[str, int], noun: str) -> dict[str, LongerEvaluation]:
    """One evaluation for each of `FACTORS`, on prompts of the task with so many times the values of `fields`.

    Args:
        task: the trained task.
        fields: the fields that set the length of a prompt, with their trained values.
        noun: what a longer prompt has more of: with "pairs" the names are "2x_pairs" and "4x_pairs".

    Returns:
        The evaluations by name, without those whose values the task refuses.
    """
    evaluations = {}
    for factor in FACTORS:
        longer = task.lengthened(**{name: factor * value for name, value in fields.items()})
        if longer is not None:
            columns = _thinned(range(longer.n_points), ())
            marks = {"last": len(columns) - 1}
            description = longer.evaluations()[MAIN]._replace(positions=columns, marks=marks)
            evaluations[f"{factor}x_{noun}"] = LongerEvaluation(longer, columns, description)
    return evaluations


def _thinned(columns: Sequence[int], kept: Sequence[int]) -> tuple[int, ...]:
    """At most `MOST_COLUMNS` equally spaced columns, the last one among them, and the columns `kept`."""
    stride = -(-len(columns) // MOST_COLUMNS)
    return tuple(sorted({*columns[::-1][::stride], *kept}))
