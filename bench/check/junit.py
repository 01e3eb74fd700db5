"""Verdicts as JUnit XML for continuous integration: one test case per claim.

A claim that is contradicted is a failure. Claims with another verdict than *reproduced* are skipped: they are
neither a failure nor a pass.

CI systems show a file whose cases are all skipped as a success: a test is skipped where it does not apply. A
check that decided nothing has not succeeded, and its exit code is 2. The first case therefore states that at
least one claim is decided. It is an error if none is.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from bench.check.verdict import DECIDED, Verdict, counts

AT_LEAST_ONE = "at least one claim is decided"
"""Name of the first case."""


def junit(suite: str, verdicts: Sequence[Verdict]) -> bytes:
    """The JUnit file for one suite."""
    failed = sum(verdict.verdict == "contradicted" for verdict in verdicts)
    skipped = sum(verdict.verdict not in DECIDED for verdict in verdicts)
    decided = len(verdicts) - skipped
    root = ElementTree.Element(
        "testsuite",
        name=_printable(f"claims of {suite}"),
        tests=str(len(verdicts) + 1),
        failures=str(failed),
        skipped=str(skipped),
        errors=str(int(decided == 0)),
    )
    case = ElementTree.SubElement(root, "testcase", classname=suite, name=AT_LEAST_ONE)
    if decided == 0:
        message = f"no claim is decided: {counts(verdicts) or 'there is none'}"
        ElementTree.SubElement(case, "error", message=message)
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
