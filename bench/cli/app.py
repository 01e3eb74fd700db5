"""The table of contents of the command line: each command with its arguments, its work elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from bench.cli.arguments import RESULTS, Filter, Json, Plugins, Results, SuitePath
from bench.errors import UserError

app = typer.Typer(
    name="bench",
    help="Which sequence architecture learns in context what, settled at equal training FLOPs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        from bench import __version__

        typer.echo(f"bench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Options of `bench` itself."""


@app.command()
def plan(
    suite: SuitePath,
    plugin: Plugins,
    results: Results = RESULTS,
    filter: Filter = None,
    json: Json = False,
) -> None:
    """List a suite's runs: id, parameters, training FLOPs, state, expected time. Starts nothing."""
    from bench.cli.plan import show_plan

    show_plan(suite, results, filter, json)


@app.command()
def run(
    suite: SuitePath,
    plugin: Plugins,
    results: Results = RESULTS,
    filter: Filter = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Start at most this many runs.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and stop.")] = False,
    retry: Annotated[
        str | None, typer.Option(metavar="failed", help="Try failed runs again: --retry failed.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before long work.")] = False,
    device: Annotated[str, typer.Option(help="auto (GPUs if there are any), cpu or cuda.")] = "auto",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Runs trained side by side (default: one a GPU, or one a core).")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Processor threads of each worker.")] = 1,
    scan: Annotated[
        str,
        typer.Option(
            help="Kernels: auto (triton on a GPU, else sequential), sequential, triton, mamba_ssm "
            "(extra cuda), reference."
        ),
    ] = "auto",
    save_every: Annotated[float, typer.Option(min=0.0, help="Seconds between checkpoints.")] = 60.0,
    stack: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Runs of one shape that train as one set of kernels (default: on a GPU as bench speed "
            "measured, else by size; 1 on a processor).",
        ),
    ] = None,
    gpus_per_run: Annotated[
        int,
        typer.Option(min=1, help="GPUs (or processes) that share the batches of each run."),
    ] = 1,
    cluster: Annotated[str, typer.Option(help="local (this machine) or slurm.")] = "local",
    cluster_config: Annotated[
        Path | None,
        typer.Option(help="Site file of the cluster.", show_default="~/.config/bench/cluster.yaml"),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="With slurm: follow the jobs until they end.")] = False,
    snapshot: Annotated[
        bool, typer.Option("--snapshot", help="With slurm: jobs run a copy of the code as it is now.")
    ] = False,
) -> None:
    """Train what is missing of a suite, here or on a cluster; the same command goes on after a stop."""
    from bench.cli.run import Choices, run_suite
    from bench.dispatch.job import Machine

    run_suite(
        suite,
        results,
        Choices(
            filter,
            limit,
            dry_run,
            retry,
            yes,
            device,
            workers,
            gpus_per_run,
            cluster,
            cluster_config,
            wait,
            snapshot,
        ),
        Machine(
            threads=threads,
            scan=scan,
            save_every=save_every,
            stack=stack if gpus_per_run == 1 else 1,
        ),
    )


@app.command()
def status(
    suite: SuitePath,
    plugin: Plugins,
    results: Results = RESULTS,
    watch: Annotated[bool, typer.Option("--watch", help="Keep the table on screen, renewed.")] = False,
    json: Json = False,
) -> None:
    """Where a suite stands: runs by state, FLOPs done, time left; one line an experiment."""
    from bench.cli.status import show_status

    show_status(suite, results, watch, json)


@app.command()
def logs(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's id, its beginning, or its label.")],
    results: Results = RESULTS,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="Lines of the end.")] = 40,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")] = False,
) -> None:
    """What a run printed while it trained, wherever it trains."""
    from bench.cli.logs import show_log

    show_log(run, results, lines, follow)


@app.command()
def failures(suite: SuitePath, plugin: Plugins, results: Results = RESULTS, json: Json = False) -> None:
    """Failed runs by cause: one traceback each, the runs hit, the command that tries them again.

    Exit code 1 when anything failed.
    """
    from bench.cli.failures import show_failures

    raise typer.Exit(1 if show_failures(suite, results, json) else 0)


@app.command()
def cancel(suite: SuitePath, plugin: Plugins, results: Results = RESULTS) -> None:
    """Take a suite's jobs out of the cluster's queue. Running ones save; the same `bench run` goes on."""
    from bench.cli.cancel import cancel_suite

    cancel_suite(suite, results)


@app.command()
def report(
    plugin: Plugins,
    suites: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[SUITE]...", help="Suite files; all of suites/ with results when none is named."
        ),
    ] = None,
    results: Results = RESULTS,
    reports: Annotated[
        Path, typer.Option("--reports", file_okay=False, help="Folder the reports are written to.")
    ] = Path("reports"),
) -> None:
    """Write tables, figures and a page from the results there are."""
    from bench.cli.report import write_reports

    write_reports(suites or [], results, reports)


@app.command()
def check(
    suite: SuitePath,
    plugin: Plugins,
    results: Results = RESULTS,
    json: Json = False,
    junit: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write the verdicts as JUnit XML, for CI.")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="The file of an earlier check (a report's verdicts.json, or the output of --json): exit "
            "code 1 if a claim that passed there fails now, else 0.",
        ),
    ] = None,
    allow_synthetic: Annotated[
        bool, typer.Option("--allow-synthetic", hidden=True, help="Judge synthetic results (tests).")
    ] = False,
) -> None:
    """Compare results with a suite's claims (suites/x.claims.yaml); list what changed since the last check.

    Exit code 0: every claim is reproduced. 1: a claim is not. 2: claims are missing, undecided or
    not comparable. 3: the suite or its claims file is wrong.
    """
    from bench.cli.check import CheckOptions, check_suite

    raise typer.Exit(check_suite(suite, results, CheckOptions(json, junit, against, allow_synthetic)))


@app.command()
def compare(
    before: Annotated[Path, typer.Argument(file_okay=False, help="A results folder.")],
    after: Annotated[Path, typer.Argument(file_okay=False, help="Another: of another machine or commit.")],
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="Changes up to this fraction of the error are none.")
    ] = 0.05,
    json: Json = False,
) -> None:
    """Hold two results folders side by side, run by run, with paired 90 % intervals.

    Exit code 0: no run is worse. 1: one is. 2: the folders have no run in common.
    """
    from bench.cli.compare import compare_folders

    raise typer.Exit(compare_folders(before, after, tolerance, json))


@app.command()
def export(
    file: Annotated[
        Path | None, typer.Argument(dir_okay=False, help="x.parquet (extra parquet) or x.csv.")
    ] = None,
    results: Results = RESULTS,
    describe: Annotated[
        bool, typer.Option("--describe", help="Print what each column means, and stop.")
    ] = False,
) -> None:
    """Write all results as one table, a row a run and checkpoint."""
    from bench.cli.export import describe_columns, export_results

    if describe:
        describe_columns()
    else:
        export_results(file, results)


@app.command()
def speed(
    plugin: Plugins,
    suite: Annotated[
        Path | None, typer.Argument(metavar="[SUITE]", help="Measure this suite's distinct shapes.")
    ] = None,
    architectures: Annotated[
        str | None, typer.Option(help="Names, separated by commas (default: the paper's six).")
    ] = None,
    sizes: Annotated[
        str | None,
        typer.Option(help="Layers x width, such as 2x128,8x64, or size groups (default: 2x128)."),
    ] = None,
    tasks: Annotated[
        str | None, typer.Option(help="Names, separated by commas (default: linear_regression).")
    ] = None,
    precisions: Annotated[
        str | None, typer.Option(help="fp32,tf32 (default: both; fp32 on a processor).")
    ] = None,
    stacks: Annotated[str, typer.Option(help="Members of a stack, separated by commas.")] = "1,16",
    profile: Annotated[
        bool, typer.Option("--profile", help="Where a step's time goes, by kernel: tables and pictures.")
    ] = False,
    peer: Annotated[
        str | None,
        typer.Option(metavar="jax", help="Time a plain JAX program of the same step beside the Transformer."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="Write the record to this file instead of the results, where `bench plan` finds it.",
        ),
    ] = None,
    results: Results = RESULTS,
    json: Json = False,
) -> None:
    """Time whole training steps on this machine's device, alone and in stacks; plans then use these times."""
    from bench.cli.speed import Choices, numbers, show_speed, words
    from bench.speed.cases import Grid

    grid = Grid(
        words(architectures), words(sizes), words(tasks), words(precisions), numbers(stacks, "--stacks")
    )
    show_speed(grid, Choices(suite, results, output, profile, peer, json))


@app.command()
def withdraw(
    plugin: Plugins,
    suite: Annotated[
        Path | None, typer.Argument(metavar="[SUITE]", help="Only results of this suite's runs.")
    ] = None,
    results: Results = RESULTS,
    filter: Annotated[
        str | None,
        typer.Option(
            "--filter",
            help="Which results, e.g. 'commit=1a2b3c* scan=triton'. Fields: id, kind (run, baselines), "
            "task, architecture, size, layers, width, learning_rate, clip, optimizer, steps, seed, "
            "precision, scan, commit, device, host, bench.",
        ),
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why they no longer count; reports say it.")] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Count them again.")] = False,
) -> None:
    """Results found wrong no longer count: files stay, runs are missing. Lists them without --filter."""
    from bench.cli.withdraw import withdraw_results

    withdraw_results(suite, results, filter, reason, undo)


@app.command()
def doctor(
    speed: Annotated[
        bool, typer.Option("--speed", help="Time kernels side by side, and drawing prompts, on the GPU.")
    ] = False,
    train: Annotated[
        int | None,
        typer.Option(
            "--train",
            min=1,
            help="Train small models so many steps with every backend; compare their losses.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """What this machine has: versions, devices, kernels held against their references, what is missing."""
    if speed and train:
        raise UserError("doctor --speed and --train would disturb each other: one at a time")
    if speed:
        from bench.cli.kernel_speed import show_kernel_speeds

        show_kernel_speeds(json)
        return
    if train:
        from bench.cli.agreement import show_agreement

        raise typer.Exit(show_agreement(train, json))
    from bench.cli.doctor import examine

    raise typer.Exit(examine(json))


@app.command()
def tasks(
    plugin: Plugins,
    name: Annotated[str | None, typer.Argument(metavar="[TASK]", help="A task, to see it whole.")] = None,
    differences: Annotated[
        bool,
        typer.Option(
            "--differences", help="Where the paper's text and its released code differ, in Markdown."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """What can be learned here; a task's prompt, fields and evaluations."""
    from bench.cli.tasks import show_tasks

    show_tasks(name, differences, json)


@app.command()
def schema(
    plugin: Plugins,
    of: Annotated[
        Literal["suite", "claims"], typer.Argument(metavar="[suite|claims]", help="Which kind of file.")
    ] = "suite",
) -> None:
    """Print the JSON Schema of suites or claims files, for editors that complete and check YAML."""
    from bench.check.schema import json_schema as claims_schema
    from bench.cli.format import Output
    from bench.suite import json_schema as suite_schema

    Output().json(claims_schema() if of == "claims" else suite_schema())
