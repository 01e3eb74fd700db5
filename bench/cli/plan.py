"""`bench plan`: every run of a suite, and totals by experiment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from bench import plugins
from bench import results as pools
from bench import suite as suites
from bench.cli import printing
from bench.cli.arguments import (
    RESULTS,
    Changes,
    Filter,
    Json,
    Plugins,
    Results,
    ShardText,
    SuiteChoice,
    SuiteWord,
)
from bench.cli.printing import Column
from bench.cli.run_list import show_runs
from bench.digits import count_of
from bench.dispatch.status import WORDS
from bench.environment import cpu_name, gpu_memory_mib, local_device
from bench.errors import UserError
from bench.plan.planned import Planned, Total, plan, stacked
from bench.plan.time import Speeds
from bench.results import withdrawn
from bench.speed import records


def command(
    suite: SuiteWord,
    plugin: Plugins,
    changes: Changes,
    results: Results = RESULTS,
    filter: Filter = None,
    shard: ShardText = None,
    summary: Annotated[
        bool, typer.Option("--summary", help="Only the totals: a line per experiment instead of per run.")
    ] = False,
    json: Json = False,
) -> None:
    """List a suite's runs: id, parameters, training FLOPs, state, expected time. Starts nothing."""
    if summary and json:
        raise UserError("plan: --summary is for people and --json for scripts: give only one of them")
    show_plan(SuiteChoice.of(suite, changes, shard, results, filter), json, summary)


def show_plan(choice: SuiteChoice, as_json: bool, only_summary: bool = False) -> None:
    """Print the plan of a suite, or only its totals."""
    suite, results = choice.load(), choice.results
    pool = pools.load(results)
    speeds = known_speeds(pool, results)
    everything = plan(suite, results, pool, speeds)
    planned = stacked(choice.chosen(suite, everything), results, speeds)
    out = printing.Output()
    if as_json:
        out.json({**_as_json(suite.name, planned, speeds), "problems": pool.problems})
        return
    if not only_summary:
        show_runs(planned, out, everything)
    out.print(_totals(out, suite, planned, title="" if only_summary else "By experiment"))
    for line in _remarks(choice, planned, speeds):
        out.print(Text(line, "dim"))
    if choice.missing_folder:
        out.say(choice.missing_folder, style="yellow")
    say_outdated(planned, pool, out)
    for line in withdrawn_lines(suite, pool):
        out.say(line, style="yellow")
    for problem in pool.problems:
        out.say(problem, style="yellow")


def known_speeds(pool: pools.Pool, results: Path) -> Speeds:
    """Speeds measured on this machine's device, or else on the device that was measured most."""
    measured = records.load(results, pool.problems)
    local = local_speeds(pool, measured)
    elsewhere = Speeds(pool, None, local.kind, measured)
    return local if local or not elsewhere else elsewhere


def local_speeds(pool: pools.Pool, measured: Sequence[records.Record], device: str = "auto") -> Speeds:
    """Speeds measured on this machine's device: on its processor if `device` is "cpu"."""
    name, kind = (cpu_name(), "cpu") if device == "cpu" else local_device()
    memory = min(gpu_memory_mib(), default=None) if kind == "gpu" else None
    return Speeds(pool, name, kind, measured, memory)


def say_outdated(planned: list[Planned], pool: pools.Pool, out: printing.Output) -> None:
    """Warn of results that another version of a plugin made."""
    results = [pool.runs[entry.run.id] for entry in planned if entry.run.id in pool.runs]
    for line in plugins.outdated(result.provenance.plugins or [] for result in results):
        out.say(line, style="yellow")


def withdrawn_lines(suite: suites.Suite, pool: pools.Pool) -> list[str]:
    """The withdrawn results of a suite, in a line per reason."""
    ids = {key for run in suite.runs for key in (run.id, run.task_id)} if pool.withdrawn else set()
    return withdrawn.lines(pool.withdrawn, {*pool.runs, *pool.baselines}, ids)


def _totals(out: printing.Output, suite: suites.Suite, planned: list[Planned], title: str) -> Table:
    """A row per experiment: its runs by state, the time of its runs, and their FLOPs.

    Times are of one worker. Runs without a result whose time is unknown are counted in a column. Missing runs
    are the rest, so they have no column.
    """
    words = [word for word in WORDS if any(entry.status.word == word for entry in planned)]
    words = ["finished", *(word for word in words if word not in ("finished", "missing"))]
    columns = [Column("experiment", folds=True)]
    columns += [Column(name, number=True) for name in ("runs", *words, "time done", "time left", "unknown")]
    columns += [Column(printing.FLOPS, number=True, spare=True), Column("rebuilds", spare=True)]

    def rows() -> Iterator[tuple[str, ...]]:
        for experiment in suite.experiments:
            if members := [entry for entry in planned if experiment.name in entry.experiments]:
                yield (experiment.name, *_sums(members, words), experiment.rebuilds)
        yield ("all, each run once", *_sums(planned, words), "")

    return printing.table(out, columns, rows(), title=title)


def _sums(planned: list[Planned], words: list[Any]) -> list[str]:
    states = Counter(entry.status.word for entry in planned)
    expected = [(entry.estimate.seconds, entry.share_done) for entry in planned if entry.has_ended]
    done = Total.of(None if seconds is None else seconds * share for seconds, share in expected)
    left = Total.of(entry.remaining_seconds for entry in planned if not entry.has_ended)
    return [
        f"{len(planned):,}",
        *(f"{states[word]:,}" if states[word] else "·" for word in words),
        *(printing.duration(total.seconds) if total.seconds else "·" for total in (done, left)),
        f"{left.unknown:,}" if left.unknown else "·",
        printing.flops(sum(entry.axis_flops for entry in planned)),
    ]


def _remarks(choice: SuiteChoice, planned: list[Planned], speeds: Speeds) -> Iterator[str]:
    """The basis of the times, how to measure unknown times, and the stacks that runs form."""
    bases = Counter(entry.estimate.basis for entry in planned)
    if speeds:
        yield (
            f"Times are of one worker on {speeds.device}: {bases['measured']:,} from measured speeds, "
            f"{bases['scaled']:,} scaled from the nearest measured (~), {bases['unknown']:,} unknown."
        )
    if bases["unknown"]:
        yield f"Unknown: no similar run was measured. Measure on this machine with: bench speed {choice}"
    if stopping := [entry for entry in planned if entry.run.stop is not None and not entry.has_ended]:
        yield (
            f"{count_of(len(stopping), 'run')} may stop earlier, after convergence: steps, times and "
            "FLOPs are the most there can be."
        )
    missing = [entry for entry in planned if not entry.has_ended]
    if any(entry.estimate.members > 1 for entry in missing):
        sizes = Counter(Counter(entry.stack for entry in missing).values())
        described = ", ".join(f"{number:,} of {size}" for size, number in sorted(sizes.items(), reverse=True))
        stacks = count_of(sum(sizes.values()), "stack")
        yield f"{count_of(len(missing), 'run')} without a result form {stacks}: {described}."


def _as_json(name: str, planned: list[Planned], speeds: Speeds) -> dict[str, Any]:
    return {
        "suite": name,
        "device": speeds.device,
        "runs": [
            {
                "id": entry.run.id,
                "label": entry.run.label,
                "experiments": list(entry.experiments),
                "run": entry.run.identity(),
                "parameters": entry.run.parameters,
                "training_flops": entry.training_flops,
                "training_flops_full_length": entry.training_flops_full_length,
                "state": entry.status.word,
                "step": entry.status.step,
                "note": entry.status.note,
                "estimated_hours": None if entry.estimate.seconds is None else entry.estimate.seconds / 3600,
                "estimate": entry.estimate.basis,
                "stack": entry.estimate.members,
            }
            for entry in planned
        ],
    }
