"""Findings as a report shows them: texts with numbers from verdicts, the claims behind them, and a figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.paper.exhibits import EXHIBITS
from bench.report.text import slug
from bench.report.verdict_text import value_text

if TYPE_CHECKING:
    from bench.check import Verdict
    from bench.check.findings import Finding, Findings, Standing
    from bench.report.figures.drawing import Drawing
    from bench.report.page.exhibits import DrawnExhibit
    from bench.report.page.sections import ExperimentSection


@dataclass(frozen=True)
class ShownFinding:
    """One finding.

    Attributes:
        standing: whether verdicts support it.
        text: with its numbers; None unless verdicts support it.
        notes: the claims that are in the way, with reasons.
        verdicts: on its claims, in the order of its file.
        figure: the name of its figure, empty if it has none.
        drawing: the figure; None as long as results do not give it.
    """

    anchor: str
    title: str
    standing: Standing
    text: str | None
    notes: Sequence[str]
    verdicts: Sequence[Verdict]
    figure: str
    drawing: Drawing | None


def shown(
    findings: Findings, verdicts: Iterable[Verdict], figures: Mapping[str, Drawing | None]
) -> list[ShownFinding]:
    """Every finding, in the order of the file.

    Args:
        findings: the findings about a suite.
        verdicts: on the suite's claims.
        figures: the report's figures by every name that a finding may use; None where results lack.
    """
    by_claim = {verdict.claim: verdict for verdict in verdicts}
    numbers = {
        name: {
            "measured": value_text(verdict), "expected": verdict.expected, "verdict": verdict.verdict
        }
        for name, verdict in by_claim.items()
    }  # fmt: skip
    anchors: set[str] = set()
    return [
        ShownFinding(
            anchor=slug(f"finding-{name}", anchors),
            title=finding.title,
            standing=(standing := finding.standing(by_claim)),
            text=finding.filled(numbers) if standing == "supported" else None,
            notes=_notes(finding, by_claim),
            verdicts=[by_claim[claim] for claim in finding.said],
            figure=finding.figure or "",
            drawing=figures.get(finding.figure) if finding.figure else None,
        )
        for name, finding in findings.findings.items()
    ]


def _notes(finding: Finding, verdicts: Mapping[str, Verdict]) -> list[str]:
    """Why the text of a finding is not shown, with a line per claim."""
    return [
        *(
            f"Results say otherwise: “{verdicts[name].statement}” is {verdicts[name].verdict}, "
            f"the text says {finding.said[name]}."
            for name in finding.refuted_claims(verdicts)
        ),
        *(
            f"Not decided yet: “{verdicts[name].statement}” is {verdicts[name].verdict} "
            f"({verdicts[name].reason})."
            for name in finding.open_claims(verdicts)
        ),
    ]


def figures_by_name(
    exhibits: Iterable[DrawnExhibit], experiments: Iterable[ExperimentSection]
) -> dict[str, Drawing | None]:
    """Every figure of a report by its names: in the paper (`Figure 5`), and of its file.

    A figure that depends on results that do not exist yet has its names too.
    """
    figures: dict[str, Drawing | None] = {}
    for exhibit in exhibits:
        if EXHIBITS[exhibit.number].is_figure:
            figures |= {exhibit.number: exhibit.drawing, exhibit.anchor: exhibit.drawing}
    for experiment in experiments:
        figures |= {name: None for task in experiment.tasks for name in task.figures}
        figures |= {drawing.name: drawing for drawing in experiment.drawings()}
    return figures
