"""Names for people in a report: of tasks, and of series.

A series is an architecture or a variant of one. Names tell apart tasks of one name, and runs of one
architecture that differ in more than the size, the seed and the tuned values. A task and an architecture
have one name in the whole report.

Plans name tasks by the settings that a suite has to state: `bench.cli.task_names` says how its rule differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.differences import telling_fields
from bench.digits import short
from bench.json_data import leaves
from bench.paper.protocol import followed
from bench.run import Run
from bench.words import architecture_name, options_in_words, setting_in_words, task_name

_FIRST, _LAST = ("group", "alphabet", "steps"), ("curriculum", "checkpoints")
"""Fields that are looked at before and after the others: a name has as few fields as possible."""


def named(results: pd.DataFrame, runs: Sequence[Run], whole: bool = True) -> pd.DataFrame:
    """Fill the columns of a frame with names that tell apart what differs among `runs`.

    Args:
        results: the frame of the runs.
        runs: the runs of a suite, or a part of them.
        whole: `runs` are those of a whole suite. A part keeps the names of tasks (`task`) and of
            architectures (`model`), so that each has one name in the whole report.
    """
    if results.empty:
        return results
    models = _model_names(runs) if whole else dict(zip(results["id"], results["model"], strict=True))
    variants = dict(zip((run.id for run in runs), _variants(runs), strict=True))
    names = _task_names(runs)

    # As objects, all texts are in one block of pandas, and selecting rows takes half the time.
    def column(texts: Mapping[str, str], key: str) -> np.ndarray[Any, Any]:
        return np.array([texts[value] for value in results[key]], object)

    tasks = column(names, "task_id")
    series = column({run_id: models[run_id] + variants[run_id] for run_id in variants}, "id")
    shared = {"task": tasks, "model": column(models, "id")} if whole else {}
    return results.assign(short_task=tasks, series=series, **shared)


def _model_names(runs: Sequence[Run]) -> dict[str, str]:
    """Architectures' names for people by run id.

    Options that are not the defaults are in the name: "DeltaNet, 2 Householder products". Rates of dropout
    are there only if two variants of an architecture on one kind of task have the same name without them.
    """
    variants: dict[tuple[str, str], set[str]] = {}
    for run in runs:
        variants.setdefault((run.task.name, run.architecture.base_name), set()).add(run.architecture.name)
    chosen = {}
    for (task, base), full_names in variants.items():
        short_names = {name: _model_name(base, name, dropout=False) for name in full_names}
        distinct = len(set(short_names.values())) == len(full_names)
        for name in full_names:
            chosen[task, name] = short_names[name] if distinct else _model_name(base, name, dropout=True)
    return {run.id: chosen[run.task.name, run.architecture.name] for run in runs}


def _model_name(base: str, name: str, dropout: bool) -> str:
    return ", ".join([architecture_name(base), *options_in_words(name, dropout)])


def _task_names(runs: Sequence[Run]) -> dict[str, str]:
    """Tasks' names for people by id. Tasks of one name carry the fields in which they differ."""
    first = {run.task_id: run for run in runs}
    records = [
        {
            **run.task.later_fields,
            **run.task.identity(),
            "prompts": run.evaluation_prompts,
            "protocol": _protocol(run),
        }
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
    """Suffixes of architectures' names, so that no two different series share a name."""
    records = []
    for run in runs:
        record = run.identity()
        for key in ("task", "learning_rate", "clip", "seed"):
            del record[key]
        record["size"] = {"heads": run.size.heads}
        records.append(record)
    # The same architecture at another size is no variant, so only differences at one size count.
    groups = [(run.architecture.base_name, run.size.layers, run.size.width, run.task_id) for run in runs]
    return _differences(records, groups, families=[run.architecture.base_name for run in runs])


def _differences(
    records: Sequence[Mapping[str, Any]], groups: Sequence[Any], families: Sequence[Any] | None = None
) -> list[str]:
    """The fields that tell each record apart (`telling_fields`) in words: ", batch size 64"."""
    flat = [dict(leaves(record)) for record in records]
    return [
        "".join(f", {phrase}" for key in keys if (phrase := _phrase(key, record.get(key))))
        for record, keys in zip(flat, telling_fields(flat, groups, _precedence, families), strict=True)
    ]


def _precedence(key: tuple[str, ...]) -> tuple[bool, bool, int, bool, tuple[str, ...]]:
    """Names and protocols first: "adamw" says more than the settings that come with it."""
    first = _FIRST.index(key[0]) if key[0] in _FIRST else len(_FIRST)
    return key[-1] != "name", key != ("protocol",), first, key[0] in _LAST, key


def _phrase(key: tuple[str, ...], value: Any) -> str:
    """A field in words; empty for a field that a record lacks, and for options, which are in every name."""
    if value is None or key == ("architecture", "name"):
        return ""
    text = short(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
    if key[-1] in ("name", "protocol"):
        return text
    return setting_in_words(" ".join(key) if key[0] == "curriculum" else key[-1], text)
