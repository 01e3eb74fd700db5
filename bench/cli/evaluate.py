"""`bench evaluate`: score models whose weights were kept on other prompts than those of their runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from bench import plugins
from bench import results as pools
from bench.cli import printing
from bench.cli.arguments import KERNELS_HELP, RESULTS, Json, Plugins, Results, TaskSettings
from bench.cli.printing import Column
from bench.digits import count_of
from bench.results.evaluations import marks, metric, normalised, positions
from bench.results.record import EvaluationRecord
from bench.run import MOST_PROMPTS
from bench.suite.changes import task_settings

ROWS = 8
"""Positions of an evaluation that the table shows, beside those with a name."""


def command(
    plugin: Plugins,
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN", help="Ids of runs, their beginnings, labels, or result files."),
    ],
    settings: TaskSettings,
    task: Annotated[
        str | None, typer.Option("--task", help="Another task than the run's, e.g. one of your own.")
    ] = None,
    prompts: Annotated[
        int | None,
        typer.Option(
            "--prompts",
            min=2,
            max=MOST_PROMPTS,
            help="Prompts of each evaluation (default: as many as the run was tested on).",
        ),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="Device: cpu, cuda or cuda:1.")] = "cpu",
    kernels: Annotated[str, typer.Option("--kernels", help=KERNELS_HELP)] = "auto",
    store: Annotated[
        bool, typer.Option("--store", help="Write the scores beside the result, which does not change.")
    ] = False,
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Score kept models on other prompts: longer ones, other settings, other tasks.

    A model is kept by `bench run --keep-weights`.
    """
    from bench.other_prompts import evaluate_model

    plugins.load_installed()
    changed = task_settings(settings)
    out = printing.Output()
    records = []
    for file in pools.result_files(runs, results):  # all are found before the first is scored
        record = evaluate_model(
            file, results, task=task, prompts=prompts, device=device, kernels=kernels, store=store, **changed
        )
        records.append(record)
        if not as_json:  # at once: a later model may fail
            show(out, record)
    if as_json:
        out.json([record.model_dump(mode="json") for record in records])
    elif store:
        out.say("Stored beside the results; bench export --table evaluations lists them.", "dim")


def show(out: printing.Output, record: EvaluationRecord) -> None:
    """Print the errors of a model by position, with a table per evaluation."""
    for name, scores in record.evaluations.items():
        where = positions(record, name, len(scores.mean))
        named = {column: mark for mark, column in marks(record, name).items()}
        rows = []
        for column in _shown(len(where), named):
            raw = scores.mean[column], scores.standard_error[column]
            rows.append((f"{where[column]}", named.get(column, ""), *_numbers(record, name, raw)))
        rows.append(("mean", "", *_numbers(record, name, (scores.overall[0], scores.overall[1]))))
        count = record.prompts.get(name, next(iter(record.prompts.values()))).count
        kind = metric(record, name).replace("_", " ")
        columns = [
            Column("position"),
            Column("mark"),
            Column(kind, number=True),
            Column("error", number=True),
        ]
        out.say(f"{record.id} on {record.task.name}, {name}: {count_of(count, 'prompt')}")
        out.print(printing.table(out, columns, rows))
        out.print()


def _shown(count: int, named: dict[int, str]) -> Sequence[int]:
    """Columns for a table: about ROWS at equal distances, the last one, and those with a name."""
    stride = max(1, -(-count // ROWS))
    return sorted({*range(0, count, stride), count - 1, *named})


def _numbers(record: EvaluationRecord, name: str, raw: tuple[float, float]) -> tuple[str, str]:
    error, spread = normalised(record, name, raw)
    return f"{raw[0]:.4g}", f"{error:.4g} ± {spread:.2g}"
