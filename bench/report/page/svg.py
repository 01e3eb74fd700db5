"""A figure's SVG as an element of a page: small, in the page's colours, with points for the page's script."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import groupby

from bench.report.figures.drawing import SEPARATOR, Spot
from bench.report.style import DARK

FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
"""Fonts of a page's figures. Figures are laid out with DejaVu Sans, which is wider than all of these."""


@dataclass(frozen=True)
class SharedParts:
    """What the drawings of one page have in common. The first drawing that needs a part contains it.

    Attributes:
        classes: of styles.
        ids: of shapes such as markers, by what defines them.
    """

    classes: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)


def inline(
    svg: bytes,
    prefix: str,
    description: str,
    spots: Sequence[Spot] = (),
    shared: SharedParts | None = None,
) -> str:
    """An SVG element for a page: ids made unique by `prefix`, colours that follow the page's.

    Every colour of `bench.report.style` becomes a CSS variable, which the page defines, so that a dark page
    can lighten it. The page also sets the font (FONTS). Text stays text. Group ids of `drawing.tag` become
    data attributes; spots become invisible circles that the page's script finds.

    A page contains all figures of its suite, so what a figure does not need is left out: ids to which nothing
    refers, groups without an attribute, digits and points of lines that nobody sees, and styles and markers
    that are in the page already (`shared`).
    """
    shared = SharedParts() if shared is None else shared
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
    text = _with_classes(_without_needless_groups(text), prefix, shared.classes)
    text = _with_shared_shapes(text, shared.ids)
    text = re.sub(_ALIKE, _grouped, text)
    return _element(opening, description, f'<g id="{prefix}">{text.strip()}</g>', spots)


def again(svg: bytes, prefix: str, description: str, spots: Sequence[Spot] = ()) -> str:
    """The SVG element of a figure that the page contains already, as `inline` with this prefix."""
    opening = svg[: svg.index(b">", svg.index(b"<svg")) + 1].decode()
    return _element(opening, description, f'<use href="#{prefix}"/>', spots)


def _element(opening: str, description: str, drawn: str, spots: Sequence[Spot]) -> str:
    """An SVG element of the size that `opening` states, with what is drawn and the circles of its spots."""
    view = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', opening)
    size = view[0] if view else ""
    circles = _circles(spots, float(view[1]), float(view[2])) if view else ""
    width = f"{float(view[1]) * 96 / 72:.0f}" if view else "640"  # CSS pixels in print
    start = f'<svg {size} style="--width:{width}" role="img" aria-label="{escape(description)}">'
    return f"{start}{drawn}{circles}</svg>"


def _with_short_ids(text: str, prefix: str) -> str:
    """The text with ids `prefix-1`, `prefix-2` … of the parts to which something refers, and no others."""
    reference = r'(href="#|url\(#)([^")]*)'
    names = dict.fromkeys(match[1] for match in re.findall(reference, text))
    short = {name: f"{prefix}-{number}" for number, name in enumerate(names, start=1)}

    def shortened(match: re.Match[str]) -> str:
        return f' id="{short[match[1]]}"' if match[1] in short else ""

    text = re.sub(r'\sid="([^"]*)"', shortened, text)
    return re.sub(reference, lambda match: f"{match[1]}{short[match[2]]}", text)


_BARE, _GROUP, _EMPTY = "<g>", r"<g(?: [^>]*)?>|</g>", r"<g(?: [^>]*)?/>"


def _without_needless_groups(text: str) -> str:
    """The text without groups that have no attribute, and without those that contain nothing."""
    text = re.sub(_EMPTY, "", text)  # a group of lines that has no line
    open_groups: list[str] = []

    def kept(match: re.Match[str]) -> str:
        if match[0] != "</g>":
            open_groups.append(match[0])
            return "" if match[0] == _BARE else match[0]
        return "" if open_groups.pop() == _BARE else match[0]

    return re.sub(_GROUP, kept, text)


def _with_classes(text: str, prefix: str, classes: dict[str, str]) -> str:
    """The text with a class in place of each style that occurs more than once, or has a class already."""
    # Only inside style attributes: a name that happens to read like a colour stays as it is.
    attribute = r'\bstyle="([^"]*)"'
    counts = Counter(re.findall(attribute, text))
    repeated = [style for style, count in counts.items() if count > 1 and style not in classes]
    added = {style: f"{prefix}s{number}" for number, style in enumerate(repeated, start=1)}
    classes |= added

    def attributes(match: re.Match[str]) -> str:
        style = match[1]
        return f'class="{classes[style]}"' if style in classes else f'style="{_themed(style)}"'

    rules = "".join(f".{name}{{{_themed(style)}}}" for style, name in added.items())
    style_sheet = f"<style>{rules}</style>" if rules else ""
    return f"{style_sheet}{re.sub(attribute, attributes, text)}"


_SHAPE = r'<defs><path id="([^"]*)" ([^>]*)/></defs>'


def _with_shared_shapes(text: str, ids: dict[str, str]) -> str:
    """The text without definitions of shapes that the page has already, which it then refers to."""
    shared = {name: ids[shape] for name, shape in re.findall(_SHAPE, text) if shape in ids}
    ids |= {shape: name for name, shape in re.findall(_SHAPE, text) if shape not in ids}
    text = re.sub(_SHAPE, lambda match: "" if match[1] in shared else match[0], text)
    return re.sub(r'href="#([^"]*)"', lambda match: f'href="#{shared.get(match[1], match[1])}"', text)


_ALIKE = r'(<use [^>]*?)( class="[^"]*")/>(?:<use [^>]*?\2/>){2,}'
"""Three or more references in a row that have one class."""


def _grouped(match: re.Match[str]) -> str:
    """References of one class as a group that has the class, which they inherit."""
    return f"<g{match[2]}>{match[0].replace(match[2], '')}</g>"


def _path(path: str) -> str:
    """A path without spare digits, letters and spaces."""
    text = " ".join(path.split())
    if not re.search("[CQ]", text):
        return _lines(text)
    return re.sub(r" ?([MLCQz]) ?", r"\1", _rounded(text, 2))  # a marker: it is small


def _lines(path: str) -> str:
    """A path of straight lines as steps between points, which are rounded to a tenth (an eighth of a pixel).

    A step is a difference of rounded places, so that rounding does not add up. Points between which the line
    is straight to `STRAIGHT` are left out.
    """
    parts: list[str] = []
    for line in re.findall(r"M[^M]*", path):
        places = [tuple(map(float, numbers.split())) for numbers in re.findall(r"[ML]([^MLz]*)", line)]
        first, *others = _straightened([(round(10 * x), round(10 * y)) for x, y in places])
        steps = [(x - x0, y - y0) for (x, y), (x0, y0) in zip(others, [first, *others], strict=False)]
        parts += ["M", _numbers([first]), "l" if steps else "", _numbers(steps), "z" if "z" in line else ""]
    return "".join(parts)


def _numbers(points: Sequence[tuple[int, int]]) -> str:
    """Tenths as decimals with the fewest letters that SVG allows: "1-.5 2 .3"."""
    text = " ".join(f"{tenths / 10:g}" for point in points for tenths in point)
    return re.sub(r"\b0\.", ".", text).replace(" -", "-")


STRAIGHT = 1.0
"""Tenths of a point by which a line may miss points that are left out: a sixth of a pixel."""


def _straightened(points: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The points without those that are within STRAIGHT of the line between the points that remain.

    From a point that remains, the line to a later point misses no point between by more than the tolerance if
    its direction is within the cone of directions to each of them. Distances must not fall, because a line
    that turns back ends elsewhere.
    """
    kept = [points[0]]
    low, high, reach = -math.pi, math.pi, 0.0
    base = 0.0
    for before, point in itertools.pairwise(points):
        x, y = point[0] - kept[-1][0], point[1] - kept[-1][1]
        distance = math.hypot(x, y)
        turn = math.remainder(math.atan2(y, x) - base, math.tau)
        if reach and not (low <= turn <= high and distance >= reach):
            kept.append(before)
            low, high, reach = -math.pi, math.pi, 0.0
            x, y = point[0] - before[0], point[1] - before[1]
            distance = math.hypot(x, y)
        if distance == 0:
            continue
        if not reach:
            base, turn = math.atan2(y, x), 0.0
        half = math.asin(min(1.0, STRAIGHT / distance))
        low, high, reach = max(low, turn - half), min(high, turn + half), distance
    return [*kept, points[-1]] if len(points) > 1 else kept


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
    """Spots as circles in groups of an architecture, and in groups of the same runs, that follow one another.

    The text of a spot is that of its groups, with which all of their texts begin, and its own.
    """
    groups = []
    for architecture, of_architecture in groupby(spots, key=lambda spot: spot.architecture):
        members = list(of_architecture)
        start = _common_start([spot.text for spot in members])
        inner = (
            _of_runs(list(of_runs), len(start), width, height)
            for _, of_runs in groupby(members, key=lambda spot: spot.run_ids)
        )
        name = f'data-architecture="{escape(architecture)}"{_text_attribute(start)}'
        groups.append(f'<g class="spots" {name}>{"".join(inner)}</g>')
    return "".join(groups)


def _of_runs(spots: Sequence[Spot], told: int, width: float, height: float) -> str:
    """The circles of the same runs. The first `told` letters of their texts are those of the group around."""
    start = _common_start([spot.text[told:] for spot in spots]) if len(spots) > 1 else ""
    first, *others = spots[0].run_ids or ("",)
    # The page shows the first run and says how many there are.
    runs = f'data-first="{escape(first)}"' + (f' data-seeds="{len(others) + 1}"' if others else "")
    circles = [
        f'<circle cx="{round(spot.x * width, 1):g}" cy="{round((1 - spot.y) * height, 1):g}"'
        f"{_text_attribute(spot.text[told + len(start) :])}"
        for spot in spots
    ]
    if len(circles) == 1:
        return f"{circles[0]} {runs}/>"
    return f"<g {runs}{_text_attribute(start)}>{''.join(f'{circle}/>' for circle in circles)}</g>"


def _text_attribute(text: str) -> str:
    return f' data-text="{escape(text)}"' if text else ""


def _common_start(texts: Sequence[str]) -> str:
    """The letters with which all texts begin: those that the first and the last in order have in common."""
    pairs = zip(min(texts), max(texts), strict=False)
    return "".join(letter for letter, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
