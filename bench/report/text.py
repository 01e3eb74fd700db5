"""Numbers as people read them, and names that are safe in file names, Markdown and LaTeX."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.digits import error_text, plus_minus

if TYPE_CHECKING:
    from bench.check import Verdict


def value_text(verdict: Verdict) -> str:
    """The number behind a verdict with its standard error, or with its interval if it is a ratio of means.

    A symbol stands in front of the number it is for.
    """
    if verdict.value is None:
        return verdict.shown or "–"
    if verdict.comparison and verdict.comparison.ratio:
        ratio = verdict.comparison.ratio
        return f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"
    error = math.nan if verdict.standard_error is None else verdict.standard_error
    number = plus_minus(verdict.value, error)
    return f"{verdict.shown} {number}" if verdict.shown else number


def unbroken(text: str) -> str:
    """A text whose numbers stay on one line: groups of digits, and ±, × and % with what belongs to them."""
    return re.sub(r"(?<=\d) (?=\d{3}\b|[±×%])|(?<=[±×]) (?=[\d(])", "\u00a0", text)


def measured_text(verdict: Verdict) -> str:
    """`value_text` with its interval, for a table: "ratio 0.27 ± 0.12 [0.114, 0.652]".

    Of a claim that cannot be compared, the reason.
    """
    if verdict.verdict == "not comparable":
        return verdict.reason.partition("; ")[0]
    text = value_text(verdict)
    if verdict.interval is not None and verdict.comparison is None:
        text += f" [{', '.join(map(error_text, verdict.interval))}]"
    is_ratio = verdict.value is not None and verdict.kind in ("order", "trend", "equivalent")
    return f"ratio {text}" if is_ratio else text


def share_text(verdict: Verdict) -> str:
    """The share of draws in which a claim holds; a dash where no draws decide it.

    With four digits, so that a share that does not decide is never rounded to one that does.
    """
    return "–" if verdict.share is None else f"{100 * verdict.share:.4g} %"


def first_sentence(text: str) -> str:
    """The first sentence of a text, or all of it. An abbreviation before a digit does not end one."""
    return re.split(r"(?<=[.!?])\s+(?=[A-Z])", text.strip(), maxsplit=1)[0]


_HEADINGS = {
    "series": "architecture",
    "training_flops": "training FLOPs",
    "value": "score",
    "state_numbers": "state",
    "precision": "precision of matrix products",
    "steps": "training steps",
    "convergence_step": "step at which learned",
}


def heading(column: str) -> str:
    """The name for people of a column of numbers: learning_rate → learning rate."""
    return _HEADINGS.get(column, column.replace("_", " "))


def millions(count: int) -> str:
    """Parameters with three significant digits: 423K, 3.21M, 85.2M."""
    for factor, unit in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if count >= factor:
            digits = max(0, 2 - math.floor(math.log10(count / factor)))
            return f"{count / factor:.{digits}f}{unit}"
    return str(count)


def first_few(phrases: Sequence[str], few: int = 8) -> list[str]:
    """The first phrases, and the number of the others."""
    more = len(phrases) - few
    return [*phrases[:few], *([f"and {more} more"] if more > 0 else [])]


def slug(text: str, names: set[str] | None = None) -> str:
    """A file name's stem of lower-case letters, digits, dots, underscores and hyphens, not in `names`.

    `names` receives the result.
    """
    stem = re.sub(r"[^a-z0-9._-]+", "-", text.replace("×", "x").lower()).strip("-._")[:80]
    stem = stem or "unnamed"
    names = set() if names is None else names
    result, count = stem, 1
    while result in names:
        count += 1
        result = f"{stem}-{count}"
    names.add(result)
    return result


def markdown(text: object) -> str:
    """Text escaped for Markdown, on one line, so that table cells can contain it."""
    flat = " ".join(str(text).split())
    return re.sub(r"([\\`*_{}\[\]<>#|~$&!])", r"\\\1", flat)


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "×": r"$\times$",
    "−": r"$-$", "–": "--", "→": r"$\to$", "≤": r"$\leq$", "≥": r"$\geq$", "<": r"\textless{}",
    ">": r"\textgreater{}", "✓": r"$\checkmark$", "▲": r"$\blacktriangle$", "✗": r"$\mathsf{X}$",
    "†": r"$\dagger$", "…": r"\ldots{}", "√": r"$\surd$", "§": r"\S{}",
}  # fmt: skip
_SUPERSCRIPTS = "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"


def latex(text: object) -> str:
    """Text escaped for LaTeX. Some signs need the package amssymb."""
    flat = " ".join(str(text).split())  # no-break spaces included
    escaped = "".join(_LATEX.get(character, character) for character in flat)
    plain = str.maketrans(_SUPERSCRIPTS, "-0123456789")
    return re.sub(f"[{_SUPERSCRIPTS}]+", lambda match: f"$^{{{match[0].translate(plain)}}}$", escaped)
