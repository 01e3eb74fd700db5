"""What a suite planned, held against what there is: one row per planned run, in four words.

finished and diverged come from results, failed from whoever ran them, missing is everything else.
Rows are named for people here: runs of one task and architecture that differ in more than what is
tuned (learning rate, clip), the size and the seed become variants with their difference in the name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.paper.protocol import followed
from bench.report.style import architecture_name, task_name
from bench.results import Pool, RunRecord, frame
from bench.run import Run, leaves, short

if TYPE_CHECKING:
    from bench.suite import Experiment

STATES = ("finished", "diverged", "failed", "missing")
TUNED = ["learning_rate", "clip"]
CELL = ["task_id", "series", "size"]
"""What one row of a table is: a task, a series (an architecture, or a variant of one) and a size."""


def planned(runs: Iterable[Run], pool: Pool, states: Mapping[str, str]) -> pd.DataFrame:
    """One row per planned run, in the order of the plan.

    Columns: id, task_id, task (its name for people), architecture (as in suites), series (its name
    for people, with what distinguishes variants), size, size_group, layers, width, parameters,
    learning_rate, clip, seed, steps, planned_flops, done_flops, state, reason.
    """
    runs = list(runs)
    tasks = task_names(runs)
    variants = _variants(runs)
    rows = []
    for run, variant in zip(runs, variants, strict=True):
        result = pool.runs.get(run.id)
        state = result.outcome if result else "failed" if states.get(run.id) == "failed" else "missing"
        rows.append(
            {
                "id": run.id,
                "task_id": run.task_id,
                "task": tasks[run.task_id],
                "architecture": run.architecture.base_name,
                "series": architecture_name(run.architecture.base_name) + variant,
                "size": f"{run.size.layers}×{run.size.width}",
                "size_group": run.size_group,
                "layers": run.size.layers,
                "width": run.size.width,
                "parameters": run.parameters,
                "learning_rate": run.learning_rate,
                "clip": run.clip,
                "seed": run.seed,
                "steps": run.steps,
                "planned_flops": _planned_flops(run),
                "done_flops": _done_flops(result),
                "state": state,
                "reason": result.reason if result else None,
            }
        )
    return pd.DataFrame(rows, columns=PLAN_COLUMNS)


PLAN_COLUMNS = [
    "id", "task_id", "task", "architecture", "series", "size", "size_group", "layers", "width",
    "parameters", "learning_rate", "clip", "seed", "steps", "planned_flops", "done_flops", "state", "reason",
]  # fmt: skip


def measured(plan: pd.DataFrame, pool: Pool) -> pd.DataFrame:
    """One row per checkpoint of the planned runs that have a result: plan columns and scores.

    Adds to the plan: step, training_flops, error, error_se, selection_error (normalised; 1 − accuracy).
    """
    mine = Pool(runs={key: pool.runs[key] for key in plan["id"] if key in pool.runs})
    scores = frame(mine)[["id", "step", "training_flops", "error", "error_se", "selection_error"]]
    return plan.merge(scores, on="id", how="inner", validate="one_to_many")


def tasks_of(experiment: Experiment) -> dict[str, list[Run]]:
    """The experiment's runs by task id, in the order of the plan."""
    by_task: dict[str, list[Run]] = {}
    for run in experiment.runs:
        by_task.setdefault(run.task_id, []).append(run)
    return by_task


def total(column: pd.Series[int]) -> int:
    """The sum of training FLOPs: exact, where 64 bits would not hold it."""
    return sum(int(value) for value in column)


def counts(plan: pd.DataFrame) -> dict[str, int]:
    """How many planned runs are in each state, all four words always there."""
    found = Counter(plan["state"].to_list())
    return {state: found[state] for state in STATES}


def tally(plan: pd.DataFrame) -> str:
    """How planned runs ended: "missing (4 of 4 runs)", "finished (3), diverged (1 of 4 runs)", "finished"."""
    return tallied(counts(plan))


def tallied(ended: Mapping[str, int]) -> str:
    """`tally` of counts by state."""
    there = [(state, count) for state, count in ended.items() if count]
    if [state for state, _ in there] == ["finished"]:
        return "finished"
    *first, (state, count) = there
    total = sum(ended.values())
    noun = "run" if total == 1 else "runs"
    words = [f"{word} ({some})" for word, some in first]
    return ", ".join([*words, f"{state} ({count} of {total} {noun})"])


_FLOPS: dict[str, int] = {}
"""Of runs by id: a report asks for the same runs many times, and their curricula take time to sum."""


def _planned_flops(run: Run) -> int:
    if run.id not in _FLOPS:
        _FLOPS[run.id] = run.training_flops()
    return _FLOPS[run.id]


def _done_flops(result: RunRecord | None) -> int:
    """Training FLOPs up to the last checkpoint; what a diverged run did after it is not known."""
    return result.last.training_flops if result and result.last else 0


def task_names(runs: Sequence[Run]) -> dict[str, str]:
    """Tasks' names for people by id, with what tells tasks of one name apart."""
    first = {run.task_id: run for run in runs}
    records = [
        {**run.task.identity(), "prompts": run.evaluation_prompts, "protocol": _protocol(run)}
        for run in first.values()
    ]
    differences = _differences(records, [run.task.name for run in first.values()])
    return {
        task_id: task_name(run.task.name) + difference
        for (task_id, run), difference in zip(first.items(), differences, strict=True)
    }


def _protocol(run: Run) -> str:
    """Name the protocol that a run's task follows where the paper's text and the released code differ."""
    protocols = followed(run.task)
    if "paper" in protocols:
        return "as in the text"
    return "as in the released code" if protocols else "in part as in the text"


def _variants(runs: Sequence[Run]) -> list[str]:
    """What to write behind an architecture's name so that no two different things share one."""
    records = []
    for run in runs:
        record = run.identity()
        for key in ("task", "learning_rate", "clip", "seed"):
            del record[key]
        record["size"] = {"heads": run.size.heads}
        records.append(record)
    # The same architecture at another size is no variant: only differences at one size count.
    groups = [(run.architecture.base_name, run.size.layers, run.size.width, run.task_id) for run in runs]
    return _differences(records, groups, families=[run.architecture.base_name for run in runs])


def _differences(
    records: Sequence[Mapping[str, Any]], groups: Sequence[Any], families: Sequence[Any] | None = None
) -> list[str]:
    """Name, for each record, the fewest fields that tell the different records of one group apart.

    A field that is needed in one group is named throughout the group's family (default: the group).
    """
    flat = [dict(leaves(record)) for record in records]
    families = groups if families is None else families
    # Names and protocols first: "adamw" says more than the settings that come with it.
    keys = sorted(
        {key for record in flat for key in record},
        key=lambda key: (key[-1] != "name", key != ("protocol",), key),
    )
    needed: dict[Any, list[tuple[str, ...]]] = {family: [] for family in families}
    for key in keys:
        seen: dict[Any, set[Any]] = {}
        for record, group, family in zip(flat, groups, families, strict=True):
            known = tuple(record.get(other) for other in needed[family])
            seen.setdefault((family, group, known), set()).add(record.get(key))
        for family in {family for (family, _, _), values in seen.items() if len(values) > 1}:
            needed[family].append(key)
    return [
        "".join(f", {_phrase(key, record.get(key))}" for key in needed[family])
        for record, family in zip(flat, families, strict=True)
    ]


def _phrase(key: tuple[str, ...], value: Any) -> str:
    shown = short(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
    return shown if key[-1] in ("name", "protocol") else f"{key[-1].replace('_', ' ')} {shown}"
