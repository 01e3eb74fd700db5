"""The page (index.html) and the README: the same sections, in HTML and in Markdown.

The page is one file: styles and figures are inside it, nothing is fetched, no script runs. Its links
lead to the files beside it. Whatever comes from a suite or a result is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup

from bench.report import estimates, select
from bench.report.drawing import Drawing
from bench.report.format import markdown
from bench.report.provenance import Provenance
from bench.report.save import inline, variable
from bench.report.sections import ExperimentSection
from bench.report.style import DARK, scientific
from bench.report.table_files import as_markdown
from bench.report.tables import Table

TEMPLATES = Path(__file__).parent / "templates"
RULES = (
    ("Choice of learning rate", select.LEARNING_RATE_RULE),
    ("Choice of size", select.SIZE_RULE),
    ("Intervals", estimates.INTERVAL_RULE),
    (
        "Normalisation",
        "Squared errors are divided by what the trivial predictor scores, so that it scores 1; accuracies "
        "are shown as they are. The floor (ceiling) is the Bayes optimum or the best bound known.",
    ),
    (
        "Training FLOPs",
        "6 × multiplications of the forward pass × batch × steps, as in Appendix B of the paper, each step "
        "at the prompt length its curriculum gives it.",
    ),
    (
        "Words",
        "finished: trained to its last step. diverged: stopped being a number, and is never chosen. failed: "
        "stopped by an error. missing: no result yet. None of them is ever drawn as zero.",
    ),
)


@dataclass(frozen=True)
class Report:
    """All of it.

    Attributes:
        counts: of the suite's runs, each once, by state.
        problems: files of the pool that were set aside.
    """

    name: str
    description: str
    counts: Mapping[str, int]
    planned_flops: int
    done_flops: int
    experiments: Sequence[ExperimentSection]
    table_6: Table
    provenance: Provenance
    problems: Sequence[str]

    @property
    def planned(self) -> int:
        return sum(self.counts.values())


def html(report: Report, drawn: Mapping[str, Mapping[str, bytes]]) -> bytes:
    """The page.

    Args:
        report: what to say.
        drawn: by figure name, its files by ending.
    """

    def picture(drawing: Drawing) -> Markup:
        # Our own SVG: every name in it was escaped when it was written.
        return Markup(inline(drawn[drawing.name]["svg"], drawing.name, drawing.description))

    themes = {
        "light": [(variable(colour), colour) for colour in DARK],
        "dark": [(variable(colour), dark) for colour, dark in DARK.items()],
    }
    text = _environment().get_template("index.html.j2").render(
        report=report, picture=picture, rules=RULES, themes=themes
    )  # fmt: skip
    return text.encode()


def readme(report: Report) -> bytes:
    """The same for a forge: relative links, pictures as PNG."""

    def table(value: Table) -> Markup:
        return Markup(as_markdown(value))

    text = _environment().get_template("README.md.j2").render(report=report, table=table, rules=RULES)
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
    environment.filters.update(scientific=scientific, md=markdown, share=_share)
    return environment


def _share(done: float, planned: float) -> str:
    """A fraction as a percentage that says neither 0 nor 100 unless it is that."""
    if planned <= 0 or done <= 0:
        return "0 %"
    if done >= planned:
        return "100 %"
    return f"{min(99.9, max(0.1, 100 * done / planned)):.1f} %"
