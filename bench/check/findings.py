"""Findings files: what results show, in short texts whose numbers come from verdicts on claims.

    suite: parity
    findings:
      mamba_learns:
        title: Mamba learns sparse parity.
        text: Its accuracy is {mamba_learns_parity.measured}.
        claims: [mamba_learns_parity]
        figure: Figure 5

A finding lists the claims that it rests on under the verdict that its text states. `claims` are reproduced;
`contradicted`, `undecided` and `not_comparable` have these verdicts. While a claim has another verdict, a
report shows the title and this claim, but not the text. Measured numbers are never written in a text:
`{claim}` and `{claim.measured}` stand for them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from bench.check.claim import Text
from bench.errors import InvalidFile, did_you_mean
from bench.frozen import Frozen
from bench.names import name_fault
from bench.strict_yaml.complaints import Complaint
from bench.strict_yaml.document import Document, check, lines, read

if TYPE_CHECKING:
    from bench.check.verdict import Verdict, Word
    from bench.suite import Suite

Names = Annotated[tuple[str, ...], Field(min_length=1)]
Standing = Literal["supported", "not decided yet", "not supported"]
SAYS: dict[str, Word] = {
    "claims": "reproduced",
    "contradicted": "contradicted",
    "undecided": "undecided",
    "not_comparable": "not comparable",
}
"""By field of a finding: the verdict on the claims it lists, as the text states it."""
PARTS = ("measured", "expected", "verdict")
"""Values of `part` in `{claim.part}`. `{claim}` is the measured number with its verdict."""
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_MEASURED = re.compile(r"(?<![§\w.])\d+\.\d+|\d+(?:\.\d+)?\s*%|±")
"""A number as results have it: a decimal fraction, a percentage, or one with an error."""


class Finding(Frozen):
    """What results show, and the claims that it rests on.

    Attributes:
        title: the finding in one sentence.
        text: a paragraph of short sentences. `{claim}` is the measured number of a claim with its verdict;
            `{claim.measured}`, `{claim.expected}` and `{claim.verdict}` are the parts.
        claims: names of claims that are reproduced, as the text says.
        contradicted: names of claims that results contradict, as the text says.
        undecided: names of claims that results leave open, as the text says.
        not_comparable: names of claims whose models cannot be compared, as the text says.
        figure: a figure of the report, by its name in the paper (`Figure 5`) or by the name of its file
            (`ten_seeds-sparse-parity-longer`).
    """

    title: Text
    text: Text
    claims: Names = ()
    contradicted: Names = ()
    undecided: Names = ()
    not_comparable: Names = ()
    figure: Text | None = None

    @property
    def said(self) -> dict[str, Word]:
        """The verdict on each claim, as the text states it, by the claim's name."""
        return {name: word for field, word in SAYS.items() for name in getattr(self, field)}

    def open_claims(self, verdicts: Mapping[str, Verdict]) -> list[str]:
        """The claims without a final verdict, except those of which the text states the verdict."""
        words = {name: verdicts[name].verdict for name in self.said}
        return [name for name, word in words.items() if word in OPEN and word != self.said[name]]

    def refuted_claims(self, verdicts: Mapping[str, Verdict]) -> list[str]:
        """The claims that are decided in another way than the text states."""
        words = {name: verdicts[name].verdict for name in self.said}
        return [name for name, word in words.items() if word not in OPEN and word != self.said[name]]

    def standing(self, verdicts: Mapping[str, Verdict]) -> Standing:
        """Whether every claim has the verdict that the text states."""
        if self.refuted_claims(verdicts):
            return "not supported"
        return "not decided yet" if self.open_claims(verdicts) else "supported"

    def filled(self, numbers: Mapping[str, Mapping[str, str]]) -> str:
        """The text with each placeholder replaced. `numbers` has the PARTS of every claim, by name."""

        def number(match: re.Match[str]) -> str:
            name, part = _claim_and_part(match[1], self.said)
            parts = numbers[name]
            return parts[part] if part else f"{parts['measured']} ({parts['verdict']})"

        return _PLACEHOLDER.sub(number, self.text)


OPEN: tuple[Word, ...] = ("undecided", "not comparable", "missing")
"""Verdicts that further results may change."""


@dataclass(frozen=True)
class Findings:
    """The findings about one suite, by name, in the order of the file."""

    findings: dict[str, Finding]
    document: Document

    def require_figures(self, figures: Collection[str]) -> None:
        """Refuse names of figures that the report does not have.

        Raises:
            InvalidFile: a finding names another figure, with its line and column.
        """
        faults = [
            Complaint(("findings", name, "figure"), text)
            for name, finding in self.findings.items()
            if finding.figure is not None and finding.figure not in figures
            for text in [
                f"the report has no figure '{finding.figure}'{did_you_mean(finding.figure, figures)}"
            ]
        ]
        if faults:
            raise InvalidFile(lines(self.document, faults))


class _File(Frozen):
    suite: str
    findings: dict[str, Any]


def path_for(suite_path: Path) -> Path:
    """The findings file of a suite: `quick.yaml` → `quick.findings.yaml` in the same folder."""
    return suite_path.with_name(f"{suite_path.stem}.findings.yaml")


def load(path: Path, suite: Suite, claims: Collection[str]) -> Findings:
    """Read the findings about `suite`.

    Args:
        path: the file.
        suite: the suite that it is about.
        claims: names of the claims about the suite.

    Raises:
        InvalidFile: every problem, each at its line and column.
    """
    document = read(path)
    file = check(document, _File)
    complaints = list(file) if isinstance(file, list) else []
    if isinstance(file, _File) and file.suite != suite.base_name:
        text = f"these are findings about '{file.suite}', the suite is named '{suite.name}'"
        complaints.append(Complaint(("suite",), text))
    entries = document.data.get("findings") if isinstance(document.data, dict) else None
    if entries == {}:
        complaints.append(Complaint(("findings",), "there is no finding here"))
    findings: dict[str, Finding] = {}
    for name in entries if isinstance(entries, dict) else ():
        loc = ("findings", name)
        if fault := name_fault(name):
            complaints.append(Complaint(loc, fault, key=True))
        finding = check(document, Finding, loc)
        if isinstance(finding, list):
            complaints.extend(finding)
            continue
        findings[name] = finding
        complaints.extend(complaint.under(loc) for complaint in _faults(finding, claims))
    if complaints:
        raise InvalidFile(lines(document, complaints))
    return Findings(findings, document)


def _faults(finding: Finding, claims: Collection[str]) -> Iterator[Complaint]:
    """What is wrong with the names and the text of a finding, with locations relative to it."""
    listed: set[str] = set()
    for field in SAYS:
        for index, name in enumerate(getattr(finding, field)):
            if name not in claims:
                yield Complaint((field, index), f"there is no claim '{name}'{did_you_mean(name, claims)}")
            elif name in listed:
                yield Complaint((field, index), f"claim '{name}' is listed twice")
            listed.add(name)
    if not listed:
        *others, last = SAYS
        fields = f"{', '.join(others)} or {last}"
        yield Complaint((), f"a finding rests on claims: name them under {fields}", key=True)
    yield from _faults_of_text(finding, claims)
    if measured := _MEASURED.search(finding.title):
        yield Complaint(("title",), f"'{measured[0]}' looks measured: a title has no measured number")


def _faults_of_text(finding: Finding, claims: Collection[str]) -> Iterator[Complaint]:
    """Placeholders that cannot be filled, and numbers that are not placeholders."""
    for content in _PLACEHOLDER.findall(finding.text):
        name, _ = _claim_and_part(content, claims)
        if name not in claims:
            stem = content.rpartition(".")[0]
            valid = [f"{stem}.{part}" for part in PARTS] if stem in claims else claims
            yield Complaint(("text",), f"unknown placeholder '{{{content}}}'{did_you_mean(content, valid)}")
        elif name not in finding.said:
            text = f"'{{{content}}}' shows claim '{name}', which this finding does not list"
            yield Complaint(("text",), text)
    rest = _PLACEHOLDER.sub("", finding.text)
    if "{" in rest or "}" in rest:
        yield Complaint(("text",), "a brace without its pair: placeholders are written {claim.measured}")
    if measured := _MEASURED.search(rest):
        text = f"'{measured[0]}' looks measured: write {{claim.measured}}, which results fill"
        yield Complaint(("text",), text)


def _claim_and_part(content: str, claims: Collection[str]) -> tuple[str, str | None]:
    """The claim and the part that a placeholder names. A claim's name may contain dots."""
    stem, _, part = content.rpartition(".")
    return (stem, part) if content not in claims and part in PARTS else (content, None)
