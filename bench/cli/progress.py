"""Progress of training: a live table on a terminal, else one line per finished run."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bench.cli import printing
from bench.cli.printing import Column
from bench.cli.time_limit import Deadline, TimeUp
from bench.digits import count_of
from bench.dispatch.job import Baselines, Job
from bench.dispatch.state import Folder
from bench.dispatch.status import RunStatus, status_of
from bench.plan.planned import Planned
from bench.results import load_run
from bench.speed.records import Shape, shape_of

POLL_SECONDS = 0.5
WAITING_SECONDS = 60.0
"""If no run trains for so long, a message names the processes that hold the runs."""


class Workers(Protocol):
    """A local pool or a cluster, which does the jobs."""

    jobs: list[Job]

    def busy(self) -> bool:
        """Whether a job is being done or waits."""


def follow(
    workers: Workers,
    todo: list[Planned],
    results: Path,
    out: printing.Output,
    deadline: Deadline | None = None,
) -> None:
    """Show progress until the workers are done.

    Raises:
        TimeUp: at the time when saving must begin.
    """
    view = _View(todo, results, workers, out)
    with view.shown():
        while workers.busy():
            view.update()
            if deadline is not None and time.monotonic() >= deadline.save:
                raise TimeUp(view.seconds_left())
            time.sleep(POLL_SECONDS)
        view.update()


@dataclass
class _View:
    """What is on the screen while runs train.

    Attributes:
        todo: the runs that the command trains.
        results: the pool of results.
        workers: the local pool or the cluster.
        out: the terminal.
        began: when this command began to train, as `time.monotonic()`.
        ended: outcomes of the runs that have ended, by id: finished, diverged or failed.
        active: the runs that train now, by id.
        first_seen: of each run that trained meanwhile, by id: what it had done before this call.
        last_seen: of the same runs, by id: what they had done when they last trained.
        last_active: when a run trained last, or waiting was last mentioned, as `time.monotonic()`.
        named_holders: processes that a message has named already.
        live: the live table; None if the output is no terminal.
    """

    todo: list[Planned]
    results: Path
    workers: Workers
    out: printing.Output
    began: float = field(default_factory=time.monotonic)
    ended: dict[str, str] = field(default_factory=dict)
    active: dict[str, RunStatus] = field(default_factory=dict)
    first_seen: dict[str, RunStatus] = field(default_factory=dict)
    last_seen: dict[str, RunStatus] = field(default_factory=dict)
    last_active: float = field(default_factory=time.monotonic)
    named_holders: set[str] = field(default_factory=set)
    live: Live | None = None

    def __post_init__(self) -> None:
        estimated = all(entry.estimate.seconds is not None for entry in self.todo)
        self._work = {
            entry.run.id: (entry.estimate.seconds or 0.0) - entry.estimate.evaluation_seconds
            if estimated
            else float(entry.axis_flops)
            for entry in self.todo
        }
        """The work of each run's steps: expected seconds, or FLOPs if the seconds of a run are unknown."""
        self._evaluation_flops = {entry.run.id: entry.run.evaluation_flops() for entry in self.todo}
        self._expected_per_flop = {
            entry.run.id: entry.estimate.evaluation_seconds / max(1, self._evaluation_flops[entry.run.id])
            if estimated
            else 1.0
            for entry in self.todo
        }
        """Expected work per FLOP of each run's evaluations."""
        self._measured_per_flop: dict[Shape, float] = {}
        """Work per FLOP of evaluations, by shape, as runs of this call have measured it."""

    @contextmanager
    def shown(self) -> Iterator[None]:
        if not self.out.is_terminal:
            yield
            return
        with Live(console=self.out, auto_refresh=False, transient=True) as self.live:
            yield

    def update(self) -> None:
        """Read heartbeats and results once and redraw."""
        self.active = {}
        ended: list[tuple[Planned, str]] = []
        for entry in self.todo:
            if entry.run.id in self.ended:
                continue
            folder = Folder.of(self.results, entry.run.id)
            beat = folder.heartbeat() if folder.alive() else None
            if beat is not None:
                active = self.active[entry.run.id] = self.last_seen[entry.run.id] = status_of(beat)
                first = self.first_seen.setdefault(entry.run.id, active)
                # The heartbeat of a process that died may have been beyond its checkpoint.
                if (active.step, active.evaluation_flops) < (first.step, first.evaluation_flops):
                    self.first_seen[entry.run.id] = active
                self._measure_evaluations(entry, active)
            elif (word := self._outcome(entry, folder)) is not None:
                ended.append((entry, word))
        # All members of a stack end at the same time. The time left is known after the last of them.
        self.ended |= {entry.run.id: word for entry, word in ended}
        for number, (entry, word) in enumerate(ended, len(self.ended) - len(ended) + 1):
            self._say_ended(entry, word, number)
        self._say_waiting()
        if self.live is not None:
            self.live.update(self._table(), refresh=True)

    def _say_waiting(self) -> None:
        """Name the processes that hold the remaining runs, once, if nothing has happened for a while."""
        now = time.monotonic()
        if self.active or len(self.ended) == len(self.todo):
            self.last_active = now
        elif now - self.last_active > WAITING_SECONDS:
            self.last_active = now
            remaining = [entry for entry in self.todo if entry.run.id not in self.ended]
            holders = Counter(Folder.of(self.results, entry.run.id).held_by() for entry in remaining)
            for holder, count in holders.items():
                if holder is not None and holder not in self.named_holders:
                    self.named_holders.add(holder)
                    runs = f"{count_of(count, 'run')} held by {holder}"
                    self.out.say(f"Waiting for {runs}; taken over when that process ends.", style="yellow")

    def _outcome(self, entry: Planned, folder: Folder) -> str | None:
        if (result := load_run(self.results, entry.run)) is not None:
            return result.outcome
        return "failed" if folder.failure() else None

    def _say_ended(self, entry: Planned, word: str, number: int) -> None:
        """Print that a run has ended, as this number of all; with the last of them, the time left."""
        count = f"{number} of {len(self.todo)}"
        self.out.print(
            Text.assemble(
                (f"{word:9}", printing.STATE_STYLES[word]),
                f" {entry.run.task.name}/{entry.run.label}  ",
                (f"{count}, {self._eta()}" if number == len(self.ended) else count, "dim"),
            ),
            soft_wrap=True,
        )

    def _measure_evaluations(self, entry: Planned, active: RunStatus) -> None:
        """Note the work per FLOP of a run's evaluations: what its steps do in the time of the evaluations."""
        if active.evaluation_flops and active.steps_per_second:
            per_flop = active.evaluation_seconds / active.evaluation_flops
            steps_per_second = active.steps_per_second * active.stack
            work_per_second = self._work[entry.run.id] / entry.run.steps * steps_per_second
            self._measured_per_flop[shape_of(entry.run)] = per_flop * work_per_second

    def _work_of(self, entry: Planned, steps: int, evaluation_flops: int) -> float:
        """The work of so many steps and evaluations of a run."""
        per_flop = self._measured_per_flop.get(shape_of(entry.run), self._expected_per_flop[entry.run.id])
        return self._work[entry.run.id] * steps / entry.run.steps + evaluation_flops * per_flop

    def _work_done(self) -> float:
        """The work that this call has done so far."""
        total = 0.0
        for entry in self.todo:
            steps, flops = self._done(entry)
            first = self.first_seen.get(entry.run.id, entry.status)
            total += self._work_of(entry, steps - first.step, flops - first.evaluation_flops)
        return total

    def _work_left(self) -> float:
        total = 0.0
        for entry in self.todo:
            if entry.run.id not in self.ended:
                steps, flops = self._done(entry)
                left = max(0, self._evaluation_flops[entry.run.id] - flops)
                total += self._work_of(entry, entry.run.steps - steps, left)
        return total

    def _done(self, entry: Planned) -> tuple[int, int]:
        """Steps, and FLOPs of evaluations, that are done of a run. A diverged run has not done the rest."""
        if self.ended.get(entry.run.id) == "finished":
            return entry.run.steps, self._evaluation_flops[entry.run.id]
        done = self.last_seen.get(entry.run.id, entry.status)
        return done.step, done.evaluation_flops

    def _eta(self) -> str:
        """The time left, in words."""
        seconds = self.seconds_left()
        if seconds is None:
            return "time left unknown yet"
        if seconds == 0:
            return f"{printing.duration(time.monotonic() - self.began)} in all"
        return f"about {printing.duration(seconds)} left"

    def seconds_left(self) -> float | None:
        """Seconds for the remaining work at the rate so far; None while that is unknown."""
        work, remaining = self._work_done(), self._work_left()
        elapsed = time.monotonic() - self.began
        if remaining <= 0:
            return 0.0
        return None if work <= 0 or elapsed < 3 else elapsed * remaining / work

    def _flops(self) -> tuple[float, float]:
        so_far = sum(
            entry.axis_flops * (1 if entry.run.id in self.ended else self._done(entry)[0] / entry.run.steps)
            for entry in self.todo
        )
        return so_far, float(sum(entry.axis_flops for entry in self.todo))

    def _table(self) -> RenderableType:
        flops, total = self._flops()
        columns = [Column("training", folds=True), Column("step", number=True), Column("of", number=True)]
        columns += [Column("loss", number=True), Column("steps/s", number=True, spare=True)]
        columns += [Column(printing.FLOPS, number=True, spare=True), Column("", spare=True)]
        rows: list[tuple[printing.Cell, ...]] = []
        for entry in self.todo:
            if (active := self.active.get(entry.run.id)) is None:
                continue
            rows.append(
                (
                    f"{entry.run.task.name}/{entry.run.label}",
                    f"{active.step:,}",
                    f"{entry.run.steps:,}",
                    "" if active.loss is None else f"{active.loss:.3g}",
                    f"{active.steps_per_second:,.1f}",
                    printing.flops(entry.axis_flops * active.step / entry.run.steps),
                    ProgressBar(entry.run.steps, active.step, width=20),
                )
            )
        for job in self.workers.jobs:
            if isinstance(job, Baselines) and Folder.of(self.results, job.id).alive():
                rows.append((f"baselines of {job.task.name}", "", "", "", "", "", ""))
        table = printing.table(self.out, columns, rows)
        overall = Table.grid(padding=(0, 1))
        overall.add_row(
            ProgressBar(max(total, 1.0), flops, width=20),
            f"{len(self.ended)} of {count_of(len(self.todo), 'run')}, "
            f"{printing.flops(flops)} of {printing.flops(total)} {printing.FLOPS}, {self._eta()}",
        )
        return Group(table, overall)
