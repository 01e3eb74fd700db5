"""`bench cancel`: take a suite's jobs out of the cluster's queue; what they trained is kept."""

from __future__ import annotations

from pathlib import Path

from bench import plugins
from bench import results as pool_of
from bench import suite as suites
from bench.cli import printing
from bench.cli.arguments import RESULTS, Plugins, Results, SuitePath
from bench.dispatch.slurm.submit import cancel
from bench.dispatch.status import run_statuses


def command(suite: SuitePath, plugin: Plugins, results: Results = RESULTS) -> None:
    """Take a suite's jobs out of the cluster's queue. Running jobs save first.

    The same `bench run` resumes them.
    """
    cancel_suite(suite, results)


def cancel_suite(path: Path, results: Path) -> None:
    """Cancel the suite's queued and running jobs.

    Raises:
        UserError: when the queue cannot be asked or refuses.
    """
    suite = suites.load(path)
    out = printing.Output()
    if count := cancel(results, suite.name):
        out.say(f"Cancelled {printing.count(count, 'job')} of suite {suite.name}. Running ones save first.")
        out.say(f"To resume: bench run {path}{plugins.flags()} --cluster slurm")
    else:
        out.say(f"Suite {suite.name} has no job in a queue.")
    statuses = run_statuses(suite.runs, results, pool_of.load(results))
    running = sum(status.word == "running" and not status.job for status in statuses.values())
    if running:
        out.say(f"{printing.count(running, 'run')} trains in a `bench run` on a machine: press Ctrl-C there.")
