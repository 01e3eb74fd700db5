"""Verdicts as JUnit XML for continuous integration: one test case per claim.

A claim that is contradicted is a failure. Claims with another verdict than *reproduced* are skipped: they are
neither a failure nor a pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from bench.check.verdicts import Verdict


def junit(suite: str, verdicts: Sequence[Verdict]) -> bytes:
    """The JUnit file for one suite."""
    failed = sum(verdict.verdict == "contradicted" for verdict in verdicts)
    skipped = sum(verdict.verdict not in ("reproduced", "contradicted") for verdict in verdicts)
    root = ElementTree.Element(
        "testsuite",
        name=_printable(f"claims of {suite}"),
        tests=str(len(verdicts)),
        failures=str(failed),
        skipped=str(skipped),
        errors="0",
    )
    for verdict in verdicts:
        name = _printable(verdict.claim)
        case = ElementTree.SubElement(root, "testcase", classname=f"{suite}.{verdict.kind}", name=name)
        if verdict.verdict == "contradicted":
            source = f" ({verdict.source})" if verdict.source else ""
            failure = ElementTree.SubElement(case, "failure", message=_printable(verdict.reason))
            failure.text = _printable(f"{verdict.statement}{source} {verdict.reason}")
        elif verdict.verdict != "reproduced":
            message = f"{verdict.verdict}: {verdict.reason}"
            ElementTree.SubElement(case, "skipped", message=_printable(message))
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _printable(text: str) -> str:
    """The text without the control characters that XML cannot contain."""
    return "".join(character for character in text if character >= " " or character in "\t\n")
