"""`bench cancel`: cancel a suite's jobs on the cluster. Checkpoints and results stay."""

from __future__ import annotations

from bench import results as pools
from bench.cli import printing
from bench.cli.arguments import RESULTS, Changes, Plugins, Results, SuiteChoice, SuiteWord
from bench.digits import count_of
from bench.dispatch.slurm.submit import cancel
from bench.dispatch.status import run_statuses


def command(suite: SuiteWord, plugin: Plugins, changes: Changes, results: Results = RESULTS) -> None:
    """Cancel a suite's jobs on the cluster. Running jobs save first.

    The same `bench run` command resumes them.
    """
    cancel_suite(SuiteChoice.of(suite, changes, results=results))


def cancel_suite(choice: SuiteChoice) -> None:
    """Cancel the suite's queued and running jobs.

    Raises:
        UserError: the scheduler does not answer, or refuses.
    """
    suite = choice.load()
    out = printing.Output()
    if count := cancel(choice.results, suite.name):
        out.say(f"Cancelled {count_of(count, 'job')} of suite {suite.name}. Running jobs save first.")
        out.say("To resume, give the same bench run command again.")
    else:
        out.say(f"Suite {suite.name} has no job in the queue.")
    statuses = run_statuses(suite.runs, choice.results, pools.load(choice.results))
    running = sum(status.word == "running" and not status.job for status in statuses.values())
    if running:
        out.say(f"To stop {count_of(running, 'run')} of a local `bench run`, press Ctrl-C in its terminal.")
