"""Verdicts as JUnit XML, which continuous integration shows: a test case a claim.

Not reproduced is a failure. Missing, undecided and not comparable are skipped: they are neither a failure
nor a pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from bench.check.verdicts import Verdict


def junit(suite: str, verdicts: Sequence[Verdict]) -> bytes:
    """The file for one suite."""
    failed = sum(one.verdict == "not reproduced" for one in verdicts)
    skipped = sum(one.verdict not in ("reproduced", "not reproduced") for one in verdicts)
    root = ElementTree.Element(
        "testsuite",
        name=_printable(f"claims of {suite}"),
        tests=str(len(verdicts)),
        failures=str(failed),
        skipped=str(skipped),
        errors="0",
    )
    for one in verdicts:
        case = ElementTree.SubElement(
            root, "testcase", classname=f"{suite}.{one.kind}", name=_printable(one.claim)
        )
        said = (
            f"{one.statement} ({one.source}) {one.reason}" if one.source else f"{one.statement} {one.reason}"
        )
        if one.verdict == "not reproduced":
            ElementTree.SubElement(case, "failure", message=_printable(one.reason)).text = _printable(said)
        elif one.verdict != "reproduced":
            ElementTree.SubElement(case, "skipped", message=_printable(f"{one.verdict}: {one.reason}"))
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _printable(text: str) -> str:
    """Without the control characters that XML cannot hold."""
    return "".join(each for each in text if each >= " " or each in "\t\n")
