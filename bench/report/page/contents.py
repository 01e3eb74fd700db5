"""What a report contains: the counts, verdicts, figures and tables that its page and its README show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from bench.check import WORDS, Verdict
from bench.check.verdict import DECIDED
from bench.digits import scientific
from bench.paper.exhibits import named
from bench.report.data.provenance import ProvenanceSummary
from bench.report.figures.drawing import Drawing
from bench.report.page.exhibits import DrawnExhibit
from bench.report.page.findings import ShownFinding
from bench.report.page.rules import MEANINGS
from bench.report.page.runs import PageRuns
from bench.report.page.sections import ExperimentSection
from bench.report.style import FIXED
from bench.report.tables.precisions import Precisions
from bench.report.tables.table import Table
from bench.words import architecture_name

FEW = 20
"""Verdicts that the README shows at most."""


@dataclass(frozen=True)
class Report:
    """What the page and the README contain.

    Attributes:
        counts: of the suite's runs, each once, by state.
        verdicts: on the suite's claims, where it has a claims file.
        findings: what results show in words, where the suite has a findings file.
        precisions: comparisons of precisions, where claims make any.
        drawn: the paper's figures and tables, in its order.
        at_equal_flops: a table of all tasks, then a table per task.
        deviations: where the suite differs from the paper.
        problems: files of the pool that were set aside.
        withdrawn: results that no longer count, and why, with a line per reason.
        runs: every planned run.
        labels: by run id, the family of its task and its architecture as in suites.
    """

    name: str
    description: str
    counts: Mapping[str, int]
    planned_flops: int
    done_flops: int
    verdicts: Sequence[Verdict]
    findings: Sequence[ShownFinding]
    precisions: Precisions | None
    drawn: Sequence[DrawnExhibit]
    at_equal_flops: Sequence[Table]
    experiments: Sequence[ExperimentSection]
    provenance: ProvenanceSummary
    deviations: Table
    problems: Sequence[str]
    withdrawn: Sequence[str]
    runs: PageRuns
    labels: Mapping[str, tuple[str, str]]

    @property
    def planned(self) -> int:
        return sum(self.counts.values())

    @property
    def progress(self) -> str:
        """How many runs have ended, and how, and which part of the training FLOPs is done."""
        ended = f"{self.counts['finished']:,} of {self.planned:,} planned runs finished"
        others = [f"{count:,} {state}" for state, count in self.counts.items() if state != "finished"]
        flops = f"{scientific(self.done_flops)} of {scientific(self.planned_flops)} training FLOPs done"
        return f"{', '.join([ended, *others])}. {flops} ({_percent_of(self.done_flops, self.planned_flops)})."

    @property
    def verdict_counts(self) -> dict[str, int]:
        """Verdicts by word, in the order of `bench.check`."""
        return {word: sum(verdict.verdict == word for verdict in self.verdicts) for word in WORDS}

    @property
    def verdict_meanings(self) -> list[tuple[str, str]]:
        """The verdicts that occur, and what each means."""
        return [(word, MEANINGS[word]) for word, count in self.verdict_counts.items() if count]

    @property
    def rebuilds(self) -> bool:
        """Whether an experiment rebuilds a figure or a table."""
        return any(experiment.rebuilds for experiment in self.experiments)

    @property
    def readme_verdicts(self) -> list[Verdict]:
        """The verdicts that the README shows: all if they are few, else some, those not reproduced first."""
        if len(self.verdicts) <= FEW:
            return list(self.verdicts)
        order = ("contradicted", "undecided", "not comparable", "unreachable", "reproduced")
        return [verdict for word in order for verdict in self.verdicts if verdict.verdict == word][:FEW]

    def drawings(self) -> list[Drawing]:
        """Every figure, those of the paper first."""
        return [
            *(exhibit.drawing for exhibit in self.drawn if exhibit.drawing),
            *(drawing for experiment in self.experiments for drawing in experiment.drawings()),
        ]

    def tables(self) -> list[Table]:
        """Every table, those of the paper first."""
        return [
            *(table for exhibit in self.drawn for table in exhibit.tables),
            *self.at_equal_flops,
            *([self.precisions.table] if self.precisions else []),
            *(table for experiment in self.experiments for table in experiment.tables()),
            self.deviations,
        ]

    def verdicts_on(self, number: str) -> list[Verdict]:
        """Verdicts whose source names a figure or table."""
        return [verdict for verdict in self.verdicts if number in named(verdict.source or "")]

    def families_of(self, verdict: Verdict) -> list[str]:
        """The families of the tasks that a claim is about."""
        return sorted({self.labels[key][0] for key in verdict.run_ids if key in self.labels})

    def architectures_of(self, verdict: Verdict) -> list[str]:
        """The architectures that a claim is about, as in suites."""
        return sorted({self.labels[key][1] for key in verdict.run_ids if key in self.labels})

    @property
    def exhibits(self) -> list[DrawnExhibit]:
        """The figures and tables that depend on results and show something; `first` comes first."""
        return [*([self.first] if self.first else []), *self.others]

    @cached_property
    def first(self) -> DrawnExhibit | None:
        """The figure that comes first, by the rule in RULES; None without a figure that shows results."""

        def decided(exhibit: DrawnExhibit) -> int:
            return sum(verdict.verdict in DECIDED for verdict in self.verdicts_on(exhibit.number))

        return max((exhibit for exhibit in self.drawn if exhibit.shows_results), key=decided, default=None)

    @property
    def others(self) -> list[DrawnExhibit]:
        """The figures and tables that depend on results and show something, without the first one."""
        return [
            exhibit
            for exhibit in self.drawn
            if not exhibit.appendix and not exhibit.is_empty and exhibit is not self.first
        ]

    @property
    def empty(self) -> list[DrawnExhibit]:
        """The figures and tables that show only a note: why they are empty."""
        return [exhibit for exhibit in self.drawn if exhibit.is_empty]

    @property
    def appendix(self) -> list[DrawnExhibit]:
        """The figures and tables that depend on no result."""
        return [exhibit for exhibit in self.drawn if exhibit.appendix]

    @property
    def tasks(self) -> list[str]:
        """Families of all tasks, for filtering."""
        return sorted({family for family, _ in self.labels.values()})

    @property
    def architectures(self) -> dict[str, str]:
        """Names for people of all architectures, by name in suites."""
        names = {architecture for _, architecture in self.labels.values()}
        return {name: architecture_name(name) for name in sorted(names, key=_place)}


def _place(architecture: str) -> tuple[int, str]:
    return FIXED.get(architecture, len(FIXED)), architecture


def _percent_of(done: float, planned: float) -> str:
    """`done` as a percentage of `planned`: 0 or 100 only where it is exactly that."""
    if planned <= 0 or done <= 0:
        return "0 %"
    if done >= planned:
        return "100 %"
    return f"{min(99.9, max(0.1, 100 * done / planned)):.1f} %"
