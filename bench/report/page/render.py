"""The page (index.html) and the README: the same sections, in HTML and in Markdown.

The page is one file: styles, figures and one script are inside it, and nothing is fetched. The script adds
the facts of a point, the filters and the search; everything else shows without it. Links lead to the files
beside the page. Text from a suite or a result is escaped.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from bench.check import WORDS, Verdict
from bench.check.claim import CONFIDENCE
from bench.digits import scientific
from bench.paper.exhibits import named
from bench.paper.symbols import RULE as SYMBOL_RULE
from bench.report.data import budgets, choices, estimates
from bench.report.data.provenance import ProvenanceSummary
from bench.report.figures.drawing import Drawing
from bench.report.page.exhibits import DrawnExhibit
from bench.report.page.findings import ShownFinding
from bench.report.page.runs import PageRuns, packed
from bench.report.page.sections import ExperimentSection
from bench.report.page.svg import FONTS, SharedParts, again, inline, variable
from bench.report.style import DARK, FIXED
from bench.report.tables.precisions import Precisions
from bench.report.tables.table import Table, as_markdown
from bench.report.text import first_sentence, markdown, measured_text, share_text, unbroken
from bench.results.evaluations import AXIS
from bench.uncertainty import DRAWS
from bench.words import architecture_name

FEW = 20
"""Verdicts that the README shows at most."""
MEANINGS = {
    "reproduced": f"the claim holds in at least {100 * CONFIDENCE:.0f} % of the draws",
    "contradicted": f"one of its comparisons fails in at least {100 * CONFIDENCE:.0f} % of the draws (if it "
    "counts pairs, too many pairs fail), or a run that it needs diverged",
    "undecided": "the draws leave both answers open, or there are fewer seeds than the claim takes, or the "
    "answer depends on which of several equally good learning rates or sizes is read",
    "not comparable": "the models that are compared have learned too little, or none of them makes an error, "
    "or two numbers have no ratio, or the runs are not those that the claim is about",
    "missing": "runs are missing",
    "unreachable": "no model can have the claimed number",
}
"""What each verdict means. `DRAWS_RULE` says what a draw is."""
DRAWS_RULE = (
    "A draw is what the numbers of a claim might have been on other test prompts and, with several seeds, "
    f"after other trainings ({DRAWS:,} draws). The interval in brackets leaves 5 % of the draws on either "
    "side. So the claim that a number is at most b (≤ b) is reproduced if the upper end is at most b, "
    "contradicted if the lower end is above b, and undecided otherwise. For ≥ b the ends are exchanged. The "
    "ratio of two models is decided in the same way. A value with a tolerance has two bounds. A claim about "
    "several models is reproduced if all of it holds in enough draws, and contradicted if one pair of models "
    "is the other way round in enough of them. No draw of an accuracy is below 0 or above 1."
)
TEMPLATES = Path(__file__).parent / "templates"
LENGTH = {
    "training_flops_full_length": "Every step counts at the full prompt length.",
    "training_flops": "Every step counts at the prompt length its curriculum gives it.",
}[AXIS]
RULES = (
    ("Choice of learning rate", choices.LEARNING_RATE_RULE),
    ("Choice of size", choices.SIZE_RULE),
    ("Several seeds", estimates.SEEDS_RULE),
    ("Intervals", estimates.INTERVAL_RULE),
    ("Equal FLOPs", budgets.RULE),
    ("Symbols of Table 1", SYMBOL_RULE),
    (
        "Normalisation",
        "Squared errors are divided by what the trivial predictor scores, so that it scores 1; accuracies "
        "are shown as they are. The floor (ceiling) is the Bayes optimum or the best bound known.",
    ),
    (
        "Training FLOPs",
        f"6 × multiplications of the forward pass × batch × steps, as in Appendix B of the paper. {LENGTH} "
        "Appendix B leaves out the projections to Mamba's Δ, B and C, which would add 5 % (width 768) to "
        "17 % (width 32) to Mamba's count; here they are left out too. It ignores the linear terms of the "
        "hybrids' Mamba blocks, 3 % to 48 % of a Standard Hybrid's other terms with 41 points; here they are "
        "counted.",
    ),
    (
        "First figure",
        "The figure of the paper with the most decided claims (reproduced or contradicted) comes first; of "
        "equals, the first in the paper.",
    ),
    ("Verdicts", f"{'; '.join(f'{word}: {meaning}' for word, meaning in MEANINGS.items())}. {DRAWS_RULE}"),
    (
        "Words",
        "finished: trained to its last step. diverged: stopped being a number, and is never chosen. failed: "
        "stopped by an error. missing: no result yet. None of them is ever drawn as zero.",
    ),
)


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
    def verdict_counts(self) -> dict[str, int]:
        """Verdicts by word, in the order of `bench.check`."""
        return {word: sum(verdict.verdict == word for verdict in self.verdicts) for word in WORDS}

    @property
    def words(self) -> list[tuple[str, str]]:
        """The verdicts that occur, and what each means."""
        return [(word, MEANINGS[word]) for word, count in self.verdict_counts.items() if count]

    @property
    def rebuilds(self) -> bool:
        """Whether an experiment rebuilds a figure or a table."""
        return any(experiment.rebuilds for experiment in self.experiments)

    @property
    def telling(self) -> list[Verdict]:
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
        """The figures and tables that depend on results, the one that comes first first."""
        return [*([self.first] if self.first else []), *self.others]

    @cached_property
    def first(self) -> DrawnExhibit | None:
        """The figure that comes first, by the rule in RULES; None without a figure that shows results."""

        def decided(exhibit: DrawnExhibit) -> int:
            words = ("reproduced", "contradicted")
            return sum(verdict.verdict in words for verdict in self.verdicts_on(exhibit.number))

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
        """The figures and tables that have nothing to show but why."""
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


def html(report: Report, drawn: Mapping[str, Mapping[str, bytes]]) -> bytes:
    """The page.

    Args:
        report: the contents.
        drawn: by figure name, its files by ending.
    """
    numbers = itertools.count(1)
    prefixes: dict[str, str] = {}
    shared = SharedParts()

    def picture(drawing: Drawing) -> Markup:
        # Our own SVG: every name in it was escaped when it was written. A figure may be shown twice.
        svg = drawn[drawing.name]["svg"]
        if drawing.name in prefixes:
            return Markup(again(svg, prefixes[drawing.name], drawing.description, drawing.spots))
        prefixes[drawing.name] = f"f{next(numbers)}"
        return Markup(inline(svg, prefixes[drawing.name], drawing.description, drawing.spots, shared))

    themes = {
        "light": [(variable(colour), colour) for colour in DARK],
        "dark": [(variable(colour), dark) for colour, dark in DARK.items()],
    }
    text = _environment().get_template("index.html.j2").render(
        report=report, fonts=Markup(FONTS), picture=picture, rules=RULES, themes=themes, script=_script(),
        runs=_embedded(packed(report.runs)),
    )  # fmt: skip
    return text.encode()


def _script() -> Markup:
    return Markup((TEMPLATES / "page.js").read_text(encoding="utf-8"))


def _embedded(value: Any) -> Markup:
    """JSON that is safe inside a script element, whatever text it contains."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _place(architecture: str) -> tuple[int, str]:
    return FIXED.get(architecture, len(FIXED)), architecture


def markdown_files(report: Report) -> dict[str, bytes]:
    """The same as Markdown: README.md, and beside it findings, verdicts, rules and a file per experiment."""

    def text(template: str, **more: Any) -> bytes:
        words = _environment().get_template(template).render(report=report, rules=RULES, **more)
        return words.encode()

    return {
        "README.md": text("README.md.j2"),
        **({"findings.md": text("findings.md.j2")} if report.findings else {}),
        **({"verdicts.md": text("verdicts.md.j2")} if report.verdicts else {}),
        "methods.md": text("methods.md.j2"),
        **{
            f"experiments/{experiment.anchor}.md": text("experiment.md.j2", experiment=experiment)
            for experiment in report.experiments
        },
    }


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        scientific=scientific, md=markdown, share=_share, first_sentence=first_sentence
    )
    environment.filters["measured"] = measured_text
    environment.filters["unbroken"] = unbroken
    environment.filters["share_of_draws"] = share_text
    environment.filters["table"] = lambda table: Markup(as_markdown(table))
    environment.globals["draws_rule"] = DRAWS_RULE
    return environment


def _share(done: float, planned: float) -> str:
    """A fraction as a percentage, 0 or 100 only where it is exactly that."""
    if planned <= 0 or done <= 0:
        return "0 %"
    if done >= planned:
        return "100 %"
    return f"{min(99.9, max(0.1, 100 * done / planned)):.1f} %"
