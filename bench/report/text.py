"""Numbers as people read them, and names that are safe in file names, Markdown and LaTeX."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence


def unbroken(text: str) -> str:
    """A text whose numbers stay on one line: groups of digits, and ±, ×, %, ≤ with what belongs to them."""
    return re.sub(r"(?<=\d) (?=\d{3}\b|[±×%])|(?<=[±×≤≥<>]) (?=[\d(−])", "\u00a0", text)


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


FEW = 8


def first_few(phrases: Sequence[str]) -> list[str]:
    """The first `FEW` phrases, and the number of the others."""
    more = len(phrases) - FEW
    return [*phrases[:FEW], *([f"and {more} more"] if more > 0 else [])]


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
