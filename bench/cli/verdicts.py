"""Verdicts as `bench check` prints them: a line per claim, grouped by verdict; details on request."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rich.padding import Padding
from rich.text import Text

from bench import check as checks
from bench.check import changes as changes_of
from bench.check.claim import Claim
from bench.cli import printing
from bench.cli.printing import Column
from bench.digits import count_of, error_text
from bench.report.text import first_few
from bench.report.verdict_text import value_text

STYLES = {
    "reproduced": "green",
    "contradicted": "red",
    "undecided": "yellow",
    "not comparable": "yellow",
    "missing": "dim",
    "unreachable": "magenta",
}
"""Verdicts in the order of their groups, with their colours."""
MEASURED = "measured ± SE"
"""Heading of measured values. Standard errors are over prompts and, with several seeds, over training."""

_SUPERSCRIPTS = "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"


def show_lines(verdicts: Sequence[checks.Verdict], claims: Mapping[str, Claim], out: printing.Output) -> None:
    """Print a line per claim: verdict, name, measured value, bound; a table for each verdict."""
    columns = [Column("verdict"), Column("claim", folds=True), Column(MEASURED), Column("bound", folds=True)]
    for word, style in STYLES.items():
        rows = [
            (Text(word, style), verdict.claim, _measured(verdict), claims[verdict.claim].bound_text)
            for verdict in verdicts
            if verdict.verdict == word
        ]
        if rows:
            out.print(printing.table(out, columns, rows))
            out.print()


def _measured(verdict: checks.Verdict) -> str:
    """The measured value with its standard error; as (3.16 ± 0.14)e-4 where reports have a power of ten."""
    return re.sub(
        f" × 10([{_SUPERSCRIPTS}]+)",
        lambda power: "e" + "".join("-0123456789"[_SUPERSCRIPTS.index(letter)] for letter in power[1]),
        value_text(verdict),
    )


def show_in_full(
    verdicts: Sequence[checks.Verdict],
    claims: Mapping[str, Claim],
    out: printing.Output,
    before: Mapping[str, str | None] | None = None,
) -> None:
    """Print each claim with its statement, source, reason and runs.

    Args:
        verdicts: the claims to print.
        claims: claims by name.
        out: the output.
        before: earlier verdicts of claims whose verdict has changed; None for a claim that is new.
    """
    for word in STYLES:
        for verdict in verdicts:
            if verdict.verdict == word:
                _show_in_full(verdict, claims[verdict.claim], out, before or {})


def _show_in_full(
    verdict: checks.Verdict, claim: Claim, out: printing.Output, before: Mapping[str, str | None]
) -> None:
    earlier = f" (before: {before[verdict.claim] or 'not claimed'})" if verdict.claim in before else ""
    is_measured = verdict.value is not None or verdict.shown is not None
    measured = f"  {_measured(verdict)}  {claim.bound_text}" if is_measured else ""
    word = (verdict.verdict, STYLES[verdict.verdict])
    out.print(Text.assemble(word, f"{earlier}  ", (verdict.claim, "bold"), measured))
    source = f" ({verdict.source})" if verdict.source else ""
    tolerance = "" if verdict.tolerance == "none" else f", {verdict.tolerance}"
    why = f". {verdict.why_tolerance}" if verdict.why_tolerance else ""
    lines = [f"{verdict.statement}{source}"]
    lines += [f"measured: {verdict.quantity}"] if verdict.quantity else []
    lines += [f"expected: {verdict.expected}{tolerance}{why}"]
    if verdict.interval is not None:
        low, high = map(error_text, verdict.interval)
        lines.append(f"90 % interval: {low} to {high}; the claim holds if {verdict.holds_if}")
    lines += [f"result: {verdict.reason}"]
    lines += [verdict.note] if verdict.note else []
    if verdict.run_ids:
        runs = ", ".join(first_few(verdict.run_ids))
        lines.append(f"{count_of(len(verdict.run_ids), 'run')}: {runs}")
    for line in lines:
        out.print(Padding(Text(line), (0, 0, 0, 4), expand=False))


def show_counts(verdicts: Sequence[checks.Verdict], out: printing.Output, rest: str = "") -> None:
    """Print one line: the number of claims by verdict."""
    out.say(f"{count_of(len(verdicts), 'claim')}: {checks.counts(verdicts) or 'nothing was checked'}.{rest}")


def show_changes(changes: Sequence[changes_of.Change], since: str, out: printing.Output) -> None:
    """Print a line per changed claim."""
    for change in changes:
        style = "red" if change.lost else "green" if change.after == "reproduced" else ""
        before, after = change.before or "not claimed", change.after or "no longer claimed"
        out.print(Text(f"Since {since}: {change.claim}: {before} → {after}", style))
