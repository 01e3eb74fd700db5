"""A figure's SVG as an element of a page: small, in the page's colours, with points for the page's script."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from html import escape
from itertools import groupby

from bench.report.figures.drawing import SEPARATOR, Spot
from bench.report.style import DARK

FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
"""Fonts of a page's figures. Figures are laid out with DejaVu Sans, which is wider than all of these."""


def inline(svg: bytes, prefix: str, description: str, spots: Sequence[Spot] = ()) -> str:
    """An SVG element for a page: ids and classes made unique by `prefix`, colours that follow the page's.

    Every colour of `bench.report.style` becomes a CSS variable, which the page defines, so that a dark page
    can lighten it. The page also sets the font (FONTS). Text stays text. Group ids of `drawing.tag` become
    data attributes; spots become invisible circles that the page's script finds.

    A page contains all figures of its suite, so what a figure does not need is left out: ids to which nothing
    refers, groups without an attribute, repeated styles, and digits that nobody sees.
    """
    text = svg.decode()
    text = text[text.index("<svg") :]
    opening, text = text[: text.index(">") + 1], text[text.index(">") + 1 : text.rindex("</svg>")]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(rf'\bid="(\w+){SEPARATOR}([^"]*?){SEPARATOR}\d+"', r'data-\1="\2"', text)
    text = re.sub(r' transform="rotate\(-0 [^"]*\)"', "", text.replace("xlink:href", "href"))
    text = _with_short_ids(text, prefix)
    text = re.sub(r'\bd="([^"]*)"', lambda match: f'd="{_path(match[1])}"', text)
    text = re.sub(r'\b[xy]="[^"]*"', lambda match: _rounded(match[0], 1), text)
    text = re.sub(r">\s+<", "><", text)
    text = _with_classes(_without_bare_groups(text), prefix)
    view = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', opening)
    size = view[0] if view else ""
    circles = _circles(spots, float(view[1]), float(view[2])) if view else ""
    width = f"{float(view[1]) * 96 / 72:.0f}" if view else "640"  # CSS pixels in print
    start = f'<svg {size} style="--width:{width}" role="img" aria-label="{escape(description)}">'
    return f"{start}{text.strip()}{circles}</svg>"


def _with_short_ids(text: str, prefix: str) -> str:
    """The text with ids `prefix-1`, `prefix-2` … of the parts to which something refers, and no others."""
    reference = r'(href="#|url\(#)([^")]*)'
    names = dict.fromkeys(match[1] for match in re.findall(reference, text))
    short = {name: f"{prefix}-{number}" for number, name in enumerate(names, start=1)}

    def shortened(match: re.Match[str]) -> str:
        return f' id="{short[match[1]]}"' if match[1] in short else ""

    text = re.sub(r'\sid="([^"]*)"', shortened, text)
    return re.sub(reference, lambda match: f"{match[1]}{short[match[2]]}", text)


_BARE, _GROUP = "<g>", r"<g(?: [^>]*)?>|</g>"


def _without_bare_groups(text: str) -> str:
    """The text without groups that have no attribute."""
    open_groups: list[str] = []

    def kept(match: re.Match[str]) -> str:
        if match[0] != "</g>":
            open_groups.append(match[0])
            return "" if match[0] == _BARE else match[0]
        return "" if open_groups.pop() == _BARE else match[0]

    return re.sub(_GROUP, kept, text)


def _with_classes(text: str, prefix: str) -> str:
    """The text with a class in place of each style that occurs more than once."""
    # Only inside style attributes: a name that happens to read like a colour stays as it is.
    attribute = r'\bstyle="([^"]*)"'
    counts = Counter(re.findall(attribute, text))
    repeated = [style for style, count in counts.items() if count > 1]
    classes = {style: f"{prefix}s{number}" for number, style in enumerate(repeated, start=1)}

    def attributes(match: re.Match[str]) -> str:
        style = match[1]
        return f'class="{classes[style]}"' if style in classes else f'style="{_themed(style)}"'

    rules = "".join(f".{name}{{{_themed(style)}}}" for style, name in classes.items())
    return f"<style>{rules}</style>{re.sub(attribute, attributes, text)}"


def _path(path: str) -> str:
    """A path without spare digits, letters and spaces."""
    text = " ".join(path.split())
    if not re.search("[CQ]", text):
        return _lines(text)
    return re.sub(r" ?([MLCQz]) ?", r"\1", _rounded(text, 2))  # a marker: it is small


def _lines(path: str) -> str:
    """A path of straight lines as steps between points, which are rounded to a tenth (an eighth of a pixel).

    A step is a difference of rounded places, so that rounding does not add up.
    """
    parts: list[str] = []
    at, last = (0, 0), ""
    for command, numbers in re.findall(r"([MLz])([^MLz]*)", path):
        if command == "z":
            parts.append("z")
        else:
            x, y = (round(10 * float(number)) for number in numbers.split())
            step = (x, y) if command == "M" else (x - at[0], y - at[1])
            letter = {"M": "M", "L": " " if last == "L" else "l"}[command]
            parts.append(letter + " ".join(f"{tenths / 10:g}" for tenths in step))
            at = (x, y)
        last = command
    return "".join(parts)


def _rounded(text: str, digits: int) -> str:
    """The text with numbers of at most so many digits behind the point, without trailing zeros."""
    return re.sub(r"-?\d+\.\d+", lambda match: f"{round(float(match[0]), digits) + 0.0:.10g}", text)


def _themed(style: str) -> str:
    for colour in DARK:
        style = style.replace(colour, f"var({variable(colour)})")
    return style.replace(" font-family: 'DejaVu Sans';", "").replace(": ", ":").replace("; ", ";")


def variable(colour: str) -> str:
    """The CSS variable that stands for a colour of a figure."""
    return f"--f-{colour.removeprefix('#')}"


def _circles(spots: Sequence[Spot], width: float, height: float) -> str:
    """Spots as circles. Those of the same runs that follow one another are one group."""
    groups = []
    for (architecture, run_ids), members in groupby(
        spots, key=lambda spot: (spot.architecture, spot.run_ids)
    ):
        circles = "".join(
            f'<circle class="spot" cx="{spot.x * width:.1f}" cy="{(1 - spot.y) * height:.1f}" r="5" '
            f'data-text="{escape(spot.text)}"/>'
            for spot in members
        )
        names = f'data-architecture="{escape(architecture)}" data-runs="{escape(" ".join(run_ids))}"'
        groups.append(f"<g {names}>{circles}</g>")
    return "".join(groups)
