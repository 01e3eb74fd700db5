"""`bench run`: train a suite's missing runs on this machine, or submit them to a cluster."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from bench import results as pools
from bench.check.claims import load as load_claims
from bench.check.claims import path_for
from bench.cli import printing
from bench.cli.arguments import (
    KERNELS_HELP,
    MOST_WORKERS,
    RESULTS,
    Changes,
    Filter,
    Plugins,
    Results,
    ShardText,
    SuiteChoice,
    SuiteWord,
)
from bench.cli.expected_time import cautious_seconds, expected_cost
from bench.cli.memory import check_workers_fit
from bench.cli.outcome import (
    conclude,
    conclude_early,
    confirm,
    forget_failures,
    name_of,
    say_failed,
    say_states,
)
from bench.cli.plan import local_speeds, say_outdated
from bench.cli.progress import follow
from bench.cli.run_options import RunOptions, check_kernels, check_options, check_spread
from bench.cli.signals import Terminated, exit_code
from bench.cli.submit import submit_order
from bench.cli.time_limit import LAST_SECONDS, UNFINISHED, Deadline, TimeUp, seconds_of
from bench.cli.track import tracked
from bench.digits import count_of
from bench.dispatch.job import Baselines, Job, Machine, is_done
from bench.dispatch.local import LocalPool
from bench.dispatch.machines import machines
from bench.dispatch.order import Order
from bench.dispatch.slurm.environment import cluster_job
from bench.dispatch.slurm.queue import ask_queue
from bench.dispatch.slurm.site import Site, load_site
from bench.dispatch.slurm.submit import SlurmOptions
from bench.dispatch.stacking import companions_in_stacks, interrupted_stacks
from bench.dispatch.status import Queue
from bench.environment import code_identity
from bench.errors import InvalidFile, UserError
from bench.plan.memory import Memories
from bench.plan.planned import Planned, longest_first, plan, stacked
from bench.plan.time import Speeds, most_measured
from bench.run import Run
from bench.speed import records
from bench.suite import Suite


def command(
    suite: SuiteWord,
    plugin: Plugins,
    changes: Changes,
    results: Results = RESULTS,
    filter: Filter = None,
    shard: ShardText = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Start at most this many runs (default: all).")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would run, and start nothing.")
    ] = False,
    retry: Annotated[
        str | None, typer.Option(metavar="failed", help="Try failed runs again: --retry failed.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Start long work without asking.")] = False,
    device: Annotated[str, typer.Option(help="Device: auto (GPUs if there are any), cpu or cuda.")] = "auto",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, max=MOST_WORKERS, help="Runs trained side by side (default: one per GPU, or one per core)."
        ),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, max=1024, help="Processor threads of each worker.")] = 1,
    kernels: Annotated[
        str,
        typer.Option(help=KERNELS_HELP),
    ] = "auto",
    scan: Annotated[str | None, typer.Option("--scan", hidden=True)] = None,
    save_every: Annotated[
        float, typer.Option(min=0.0, help="Seconds between saves, from which a stopped run resumes.")
    ] = 60.0,
    stack: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of runs of one shape that train together (default: on a GPU the fastest that bench "
            "speed measured, or one by size; on a processor 1).",
        ),
    ] = None,
    keep_weights: Annotated[
        bool,
        typer.Option(
            "--keep-weights",
            help="Store the parameters of finished runs beside their results (pip extra: weights).",
        ),
    ] = False,
    gpus_per_run: Annotated[
        int,
        typer.Option(min=1, max=MOST_WORKERS, help="GPUs (or processes) that share the batches of each run."),
    ] = 1,
    time_limit: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="DURATION",
            help="Save everything and stop before this time is over, e.g. 90s, 9m or 1h30m. "
            f"Exit code {UNFINISHED} if runs are left; the same command resumes them.",
        ),
    ] = None,
    track: Annotated[
        str | None,
        typer.Option(
            metavar="trackio|wandb",
            envvar="BENCH_TRACK",
            help="Copy losses and evaluations to a tracker while runs train (pip extra: tracking).",
        ),
    ] = None,
    cluster: Annotated[str, typer.Option(help="Where to train: local (this machine) or slurm.")] = "local",
    cluster_config: Annotated[
        Path | None,
        typer.Option(
            help="Site file of the cluster, in YAML (bench/guide/cluster.md).",
            show_default="~/.config/bench/cluster.yaml",
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="With slurm: follow the jobs until they end.")] = False,
    snapshot: Annotated[
        bool, typer.Option("--snapshot", help="With slurm: jobs run a copy of the code as it is now.")
    ] = False,
) -> None:
    """Train a suite's missing runs, here or on a cluster. Run it again to resume after a stop.

    Exit code 0: no run has failed. 1: a run has failed, now or earlier; bench failures lists causes. 2:
    nothing was trained. 75: the time of --for is over, and runs are left.
    """
    if scan is not None:
        if kernels != "auto":
            raise UserError("--scan is the former name of --kernels; give --kernels only")
        typer.echo("bench: --scan is now called --kernels; the next release removes --scan", err=True)
        kernels = scan
    run_suite(
        SuiteChoice.of(suite, changes, shard, results, filter),
        RunOptions(
            limit=limit,
            dry_run=dry_run,
            retry=retry,
            yes=yes,
            device=device,
            workers=workers,
            gpus_per_run=gpus_per_run,
            seconds=None if time_limit is None else seconds_of(time_limit),
            cluster=cluster,
            cluster_config=cluster_config,
            wait=wait,
            snapshot=snapshot,
            track=track or None,
        ),
        Machine(
            threads=threads,
            kernels=kernels,
            save_every=save_every,
            stack=stack if gpus_per_run == 1 else 1,
            keep_weights=keep_weights,
        ),
    )


@dataclass(frozen=True)
class Work:
    """What `bench run` has to do.

    Attributes:
        chosen: the suite's runs that the options choose, whatever their state.
        todo: the chosen runs to train, first those that have begun.
        companions: further runs, whose stacks were begun together with some of these.
        jobs: the runs to train, their companions and the missing baselines of their tasks.
        queue: what already waits on the cluster.
        begun: ids of the runs that have a checkpoint.
    """

    suite: Suite
    pool: pools.Pool
    speeds: Speeds
    queue: Queue
    chosen: list[Planned]
    todo: list[Planned]
    companions: list[Run]
    jobs: list[Job]
    begun: set[str]


def run_suite(choice: SuiteChoice, options: RunOptions, machine: Machine) -> None:
    """Train the missing runs of a suite.

    Raises:
        UserError: an option does not fit this machine or this suite.
        typer.Exit: code 1 if runs failed, now or earlier; 130 if interrupted; `UNFINISHED` if the time of
            `--for` ended before the runs.
    """
    check_options(options, machine)
    site = load_site(options.cluster_config) if options.cluster == "slurm" else None
    out = printing.Output()
    work = _work(choice, options, machine, site, out)
    _say_work(work, choice.results, machine, out)
    if not work.jobs:
        waiting = bool(work.queue.runs)
        out.print("Nothing to submit: all missing runs are queued." if waiting else "Nothing to do.")
        say_failed(work.chosen, choice, out)
        raise typer.Exit(1 if any(entry.status.word == "failed" for entry in work.chosen) else 0)
    check_kernels(machine)
    check_spread(options.gpus_per_run, work.todo)
    memories = Memories(work.pool, options.gpus_per_run)
    if site is None:
        _run_here(work, choice, options, machine, memories, out)
        return
    slurm = SlurmOptions(site, machine, options.gpus_per_run, options.snapshot)
    cost = expected_cost(work.todo, choice, 1, work.speeds.device)
    submit_order(choice, work.suite.name, work.todo, work.jobs, memories, slurm, options, cost, out)


def _work(
    choice: SuiteChoice, options: RunOptions, machine: Machine, site: Site | None, out: printing.Output
) -> Work:
    """Read the suite and its results, and find what is left to do."""
    suite, results = choice.load(), choice.results
    pool = pools.load(results)
    speeds = _speeds(pool, results, options, site)
    for problem in pool.problems:
        out.say(problem, style="yellow")
    queue = ask_queue(results.absolute())
    planned = plan(suite, results, pool, speeds, queue, machine.stack)
    chosen = choice.chosen(suite, planned)
    begun = {identifier for ids in interrupted_stacks(results) for identifier in ids}
    todo = stacked(_todo(chosen, begun, options), results, speeds, machine.stack)
    runs = [entry.run for entry in todo]
    companions = companions_in_stacks(runs, [entry.run for entry in planned], results)
    jobs: list[Job] = [*_baselines(todo, chosen, pool), *runs, *companions]
    if site is not None:
        jobs = [job for job in jobs if job.id not in queue.runs]
    return Work(suite, pool, speeds, queue, chosen, todo, companions, jobs, begun)


def _say_work(work: Work, results: Path, machine: Machine, out: printing.Output) -> None:
    """Print what there is to do, and what may surprise the user about it."""
    say_states(work.suite.name, work.chosen, work.todo, out)
    if resumed := [run for run in work.companions if not is_done(run, results)]:
        count = count_of(len(resumed), "run")
        out.say(f"{count} more will train, because a stack that was begun resumes whole.")
    say_outdated(work.chosen, work.pool, out)
    _say_faulty_claims(work.suite, out)
    if machine.keep_weights and (weightless := _without_weights(work.chosen, work.pool)):
        out.say(
            f"{count_of(weightless, 'finished run')} without weights: trained without --keep-weights, "
            "and not trained again."
        )


def _say_faulty_claims(suite: Suite, out: printing.Output) -> None:
    """Warn of claims that no result of the suite could decide, before it is trained for them."""
    path = path_for(suite.path)
    if not path.is_file():
        return
    try:
        load_claims(path, suite)
    except InvalidFile as invalid:
        first, *others = invalid.problems
        more = f", and {count_of(len(others), 'mistake')} more" if others else ""
        out.say(f"bench check will refuse the claims: {first}{more}", style="yellow")


def _run_here(
    work: Work,
    choice: SuiteChoice,
    options: RunOptions,
    machine: Machine,
    memories: Memories,
    out: printing.Output,
) -> None:
    """Train on this machine, after asking if that takes long."""
    todo, jobs, results = work.todo, work.jobs, choice.results
    workers = _workers(options, machine, todo, out)
    check_workers_fit(workers, todo, memories, out)
    if len(workers) > 1 and options.seconds is None:
        jobs = _longest_first(jobs, work)
    cost = expected_cost(todo, choice, len(workers))
    if todo:
        out.say(f"Expected: {cost}.")
    if options.dry_run:
        for job in jobs:
            out.say(f"would run {name_of(job)}")
        return
    deadline = None if options.seconds is None else Deadline.of(options.seconds, todo, len(workers))
    cautious = cautious_seconds(todo, len(workers), work.speeds.kind)
    confirm(cautious if options.seconds is None else min(cautious, options.seconds), cost, options.yes)
    pools.check_writable(results, [pools.path_of(results, entry.run) for entry in todo])
    if options.retry:
        forget_failures(jobs, results)
    order = Order(results.absolute(), tuple(entry.run.id for entry in todo), code_identity())
    try:
        with tracked(options.track, work.suite.base_name, todo, results, deadline, out):
            _train(jobs, todo, order, workers, deadline, out)
        conclude(choice, order, todo, jobs, out)
    except TimeUp as end:
        if not conclude_early(order, work.chosen, todo, jobs, end.seconds_left, out):
            conclude(choice, order, todo, jobs, out)
    finally:
        order.forget()


def _longest_first(jobs: list[Job], work: Work) -> list[Job]:
    """The jobs in the order for several workers: baselines, runs that have begun, then the other runs.

    The longest stacks come first among either runs, so workers end at about the same time. One worker takes
    the same time in any order. With a time limit, the suite's order decides which runs come first.
    """
    places = {entry.run.id: place for place, entry in enumerate(longest_first(work.todo, work.speeds.kind))}

    def place(job: Job) -> tuple[bool, int]:
        if isinstance(job, Baselines):
            return False, -1
        return job.id not in work.begun, places.get(job.id, len(places))

    return sorted(jobs, key=place)


def _without_weights(chosen: list[Planned], pool: pools.Pool) -> int:
    """Number of runs that have finished and whose weights were not kept."""
    results = (pool.runs[entry.run.id] for entry in chosen if entry.run.id in pool.runs)
    return sum(result.finished and result.provenance.weights is None for result in results)


def _speeds(pool: pools.Pool, results: Path, options: RunOptions, site: Site | None) -> Speeds:
    """Speeds of the device that will train.

    For a cluster this is the device that was measured most, if possible of the kind that its jobs ask for.
    """
    measured = records.load(results, pool.problems)
    if site is not None:
        kind = "gpu" if site.wants_gpus else "cpu"
        return Speeds(pool, most_measured(pool, measured, kind), kind, measured, site.gpu_memory_mib)
    return local_speeds(pool, measured, options.device)


def _todo(chosen: list[Planned], begun: set[str], options: RunOptions) -> list[Planned]:
    """The chosen runs to train: those without a result, and with `--retry` those that failed.

    Runs that have begun come first, so that repeated commands finish them before others begin.
    """
    states = {"missing"} | ({"failed"} if options.retry else set())
    if options.cluster == "local":  # wait for runs of other processes, and take over if those die
        states |= {"running", "queued"}
    todo = [entry for entry in chosen if entry.status.word in states]
    todo.sort(key=lambda entry: entry.run.id not in begun)
    return todo[: options.limit]


def _baselines(todo: list[Planned], chosen: list[Planned], pool: pools.Pool) -> list[Baselines]:
    """The missing baselines of the tasks to train; if no run is left to train, those of all chosen tasks."""
    tasks = {entry.run.task_id: entry.run for entry in (todo or chosen)}
    return [
        Baselines(run.task, task_id, run.evaluation_prompts)
        for task_id, run in tasks.items()
        if task_id not in pool.baselines
    ]


def _workers(
    options: RunOptions, machine: Machine, todo: list[Planned], out: printing.Output
) -> list[Machine]:
    """The workers to start, each able to do every run of `todo`."""
    from bench.kernels import backends, product

    try:
        workers = machines(options.device, options.workers, machine, options.gpus_per_run)
    except ValueError as error:
        raise UserError(str(error)) from None
    if why := backends.unavailable(machine.kernels, workers[0].device):
        raise UserError(f"--kernels {machine.kernels}: {why}")
    kernels, reason = backends.resolve(machine.kernels, workers[0].device)
    if kernels != machine.kernels:
        out.say(f"Kernels: {kernels} ({reason}).")
    precisions = Counter(planned.run.precision for planned in todo)
    for name, count in precisions.items():
        if why := product.unavailable(name, workers[0].device):
            raise UserError(
                f"{count_of(count, 'run')} in precision {name} cannot train here: {why}; "
                "choose precision: fp32 in the suite, or run on an NVIDIA GPU"
            )
    return workers


def _train(
    jobs: list[Job],
    todo: list[Planned],
    order: Order,
    workers: list[Machine],
    deadline: Deadline | None,
    out: printing.Output,
) -> None:
    """Start the workers and follow them to the end.

    Raises:
        TimeUp: the deadline has come; the workers have saved.
        typer.Exit: a signal stopped the command; the workers have saved.
    """
    running = LocalPool(jobs, order, workers[: len(jobs)], cluster_job=cluster_job())
    try:
        running.start()
        follow(running, todo, order.results, out, deadline)
    except TimeUp:
        assert deadline is not None
        with contextlib.suppress(OSError, SystemExit):
            out.print("The time is up: saving what is being trained …")
        running.stop(patience=max(0.0, deadline.end - LAST_SECONDS - time.monotonic()))
        raise
    except (KeyboardInterrupt, Terminated) as stop:
        cause = "Interrupted" if isinstance(stop, KeyboardInterrupt) else f"Stopped by {stop}"
        # The terminal may be gone (OSError), or the reader of a pipe (SystemExit). The workers must be
        # stopped all the same: Python waits for its child processes before it exits.
        with contextlib.suppress(OSError, SystemExit):
            out.print(f"\n{cause}: saving what is being trained …")
        running.stop()
        with contextlib.suppress(OSError, SystemExit):
            out.print("Saved. Run the same command again to resume.")
        raise typer.Exit(exit_code(stop)) from None
    except BaseException:
        running.stop(patience=5.0)
        raise
