"""The page (index.html) and the README: the same sections, in HTML and in Markdown.

The page is one file: styles, figures and one script are inside it, and nothing is fetched. The script adds
the facts of a point, the filters and the search; everything else shows without it. Links lead to the files
beside the page. Text from a suite or a result is escaped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from bench.check import WORDS, Verdict
from bench.paper.exhibits import named
from bench.paper.symbols import RULE as SYMBOL_RULE
from bench.report.data import budgets, estimates
from bench.report.data.provenance import ProvenanceSummary
from bench.report.figures.drawing import Drawing, inline, variable
from bench.report.page.runs import PointFacts
from bench.report.page.sections import ExperimentSection
from bench.report.style import DARK, FIXED, architecture_name, scientific
from bench.report.tables.precisions import Precisions
from bench.report.tables.table import Table, as_markdown
from bench.report.text import markdown, value_text
from bench.results.evaluations import AXIS

TEMPLATES = Path(__file__).parent / "templates"
LENGTH = {
    "training_flops_full_length": "Every step counts at the full prompt length.",
    "training_flops": "Every step counts at the prompt length its curriculum gives it.",
}[AXIS]
RULES = (
    ("Choice of learning rate", estimates.LEARNING_RATE_RULE),
    ("Choice of size", estimates.SIZE_RULE),
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
        "Words",
        "finished: trained to its last step. diverged: stopped being a number, and is never chosen. failed: "
        "stopped by an error. missing: no result yet. None of them is ever drawn as zero.",
    ),
)


@dataclass(frozen=True)
class DrawnExhibit:
    """A figure or table, drawn.

    Attributes:
        number: its name in `bench.paper.exhibits`: "Figure 2".
        origin: the experiments it is drawn from, in words. Empty for none.
        notes: missing runs, and warnings.
        tasks: titles of the tasks it shows, for filtering.
    """

    number: str
    title: str
    anchor: str
    origin: str
    drawing: Drawing | None
    tables: Sequence[Table]
    notes: Sequence[str]
    tasks: Sequence[str] = ()


@dataclass(frozen=True)
class Report:
    """What the page and the README contain.

    Attributes:
        counts: of the suite's runs, each once, by state.
        verdicts: on the suite's claims, where it has a claims file.
        precisions: comparisons of precisions, where claims make any.
        exhibits: the paper's figures and tables.
        beyond: comparisons at equal FLOPs.
        problems: files of the pool that were set aside.
        withdrawn: results that no longer count, and why, with a line per reason.
        runs: facts of the runs behind the points.
    """

    name: str
    description: str
    counts: Mapping[str, int]
    planned_flops: int
    done_flops: int
    verdicts: Sequence[Verdict]
    precisions: Precisions | None
    exhibits: Sequence[DrawnExhibit]
    beyond: Sequence[Table]
    experiments: Sequence[ExperimentSection]
    provenance: ProvenanceSummary
    deviations: Table
    problems: Sequence[str]
    withdrawn: Sequence[str]
    runs: PointFacts

    @property
    def planned(self) -> int:
        return sum(self.counts.values())

    @property
    def verdict_counts(self) -> dict[str, int]:
        """Verdicts by word, in the order of `bench.check`."""
        return {word: sum(verdict.verdict == word for verdict in self.verdicts) for word in WORDS}

    def verdicts_on(self, number: str) -> list[Verdict]:
        """Verdicts whose source names a figure or table."""
        return [verdict for verdict in self.verdicts if number in named(verdict.source or "")]

    @property
    def tasks(self) -> list[str]:
        """Titles of all tasks that a part of the page belongs to, for filtering."""
        titles = {title for exhibit in self.exhibits for title in exhibit.tasks}
        titles |= {task.title for experiment in self.experiments for task in experiment.tasks}
        return sorted(titles)

    @property
    def architectures(self) -> dict[str, str]:
        """Names for people, by name in suites, of the architectures that have a point."""
        drawings = [exhibit.drawing for exhibit in self.exhibits if exhibit.drawing]
        drawings += [drawing for experiment in self.experiments for drawing in experiment.drawings()]
        names = {spot.architecture for drawing in drawings for spot in drawing.spots}
        return {name: architecture_name(name) for name in sorted(names, key=_place)}


def html(report: Report, drawn: Mapping[str, Mapping[str, bytes]]) -> bytes:
    """The page.

    Args:
        report: the contents.
        drawn: by figure name, its files by ending.
    """

    def picture(drawing: Drawing) -> Markup:
        # Our own SVG: every name in it was escaped when it was written.
        svg = inline(drawn[drawing.name]["svg"], drawing.name, drawing.description, drawing.spots)
        return Markup(svg)

    themes = {
        "light": [(variable(colour), colour) for colour in DARK],
        "dark": [(variable(colour), dark) for colour, dark in DARK.items()],
    }
    text = _environment().get_template("index.html.j2").render(
        report=report, picture=picture, rules=RULES, themes=themes, script=_script(),
        runs=_embedded(asdict(report.runs)),
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


def readme(report: Report) -> bytes:
    """The same as Markdown: relative links, pictures as PNG."""
    text = _environment().get_template("README.md.j2").render(report=report, rules=RULES)
    return text.encode()


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
    environment.filters.update(scientific=scientific, md=markdown, share=_share, measured=value_text)
    environment.filters["table"] = lambda table: Markup(as_markdown(table))
    return environment


def _share(done: float, planned: float) -> str:
    """A fraction as a percentage, 0 or 100 only where it is exactly that."""
    if planned <= 0 or done <= 0:
        return "0 %"
    if done >= planned:
        return "100 %"
    return f"{min(99.9, max(0.1, 100 * done / planned)):.1f} %"
