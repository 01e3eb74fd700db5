"""A figure on a page: shorter than its file, and the same picture."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from command import ROOT
from hypothesis import given
from hypothesis import strategies as st

from bench.report.figures.drawing import Spot
from bench.report.page.svg import SharedParts, again, inline

HEAD = '<?xml version="1.0"?><svg xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 200 100">'
POINTS = st.lists(st.tuples(st.floats(-500, 500), st.floats(-500, 500)), min_size=1, max_size=30)
FIGURES = sorted((ROOT / "reports/parity/figures").glob("*.svg"))[:4]


def svg(inside: str) -> bytes:
    return f"{HEAD}{inside}</svg>".encode()


def places(path: str) -> list[tuple[float, float]]:
    """The points of a path of absolute moves and relative lines."""
    at, points = (0.0, 0.0), []
    for command, numbers in re.findall(r"([Ml])([^Mlz]*)", path):
        values = [float(number) for number in re.findall(r"-?(?:\d+(?:\.\d+)?|\.\d+)", numbers)]
        for x, y in zip(values[::2], values[1::2], strict=True):
            at = (x, y) if command == "M" else (at[0] + x, at[1] + y)
            points.append(at)
    return points


@given(POINTS)
def test_a_line_misses_no_point_by_more_than_a_fifth(points: list[tuple[float, float]]) -> None:
    path = "\n".join(f"{'L' if index else 'M'} {x:.6f} {y:.6f} " for index, (x, y) in enumerate(points))
    match = re.search(r' d="([^"]*)"', inline(svg(f'<path d="{path}z"/>'), "f", "words"))
    assert match
    assert match[1].endswith("z")
    drawn = places(match[1])
    assert len(drawn) <= max(2, len(points))
    for end in (0, -1):
        assert drawn[end] == pytest.approx(points[end], abs=0.0501)
    segments = list(itertools.pairwise(drawn)) or [(drawn[0], drawn[0])]
    for point in points:
        assert min(distance(point, *segment) for segment in segments) < 0.2


def distance(point: tuple[float, float], start: tuple[float, float], end: tuple[float, float]) -> float:
    """How far a point is from the segment between two others."""
    (x, y), (x0, y0), (x1, y1) = point, start, end
    squared = (x1 - x0) ** 2 + (y1 - y0) ** 2
    share = ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / squared if squared else 0.0
    share = min(1.0, max(0.0, share))
    return math.hypot(x - x0 - share * (x1 - x0), y - y0 - share * (y1 - y0))


def test_a_straight_line_of_many_points_has_two() -> None:
    path = "\n".join(f"{'L' if x else 'M'} {x} {0.5 * x} " for x in range(100))
    assert 'd="M0 0l99 49.5"' in inline(svg(f'<path d="{path}"/>'), "f", "words")


def test_drawings_of_a_page_share_styles_and_markers_and_may_be_shown_twice() -> None:
    marker = '<defs><path id="m" d="M 0 0 L 0 3" style="stroke: #59636e"/></defs>'
    uses = "".join(f'<use xlink:href="#m" x="{x}" y="1" style="fill: #59636e"/>' for x in range(4))
    shared = SharedParts()
    first, second = (inline(svg(marker + uses), name, "words", shared=shared) for name in ("a", "b"))
    assert (first.count("<style>"), first.count("<path ")) == (1, 1)
    assert (second.count("<style>"), second.count("<path ")) == (0, 0)
    for page in (first, second):
        assert page.count('<use href="#a-1"') == 4
        assert page.count('class="as1"') == 1
    assert '<use href="#a"/>' in again(svg(marker + uses), "a", "words")


def test_a_path_of_several_lines_begins_each_where_it_began() -> None:
    path = "M 1 2 \nL 3.04 4 \nz\nM 10 10 \nL 9 9.96 \nL 8 8 \n"
    assert 'd="M1 2l2 2zM10 10l-1 0-1-2"' in inline(svg(f'<path d="{path}"/>'), "f", "words")


def test_a_marker_keeps_its_curves() -> None:
    path = "M 0 2.1 \nC 0.556926 2.1 1.091118 1.878731 1.484924 1.484924 \nL 2 2 \nz\n"
    assert 'd="M0 2.1C0.56 2.1 1.09 1.88 1.48 1.48L2 2z"' in inline(svg(f'<path d="{path}"/>'), "f", "words")


@pytest.mark.parametrize("file", FIGURES, ids=lambda file: file.stem)
def test_references_find_their_part_and_texts_stay(file: Path) -> None:
    data = file.read_bytes()
    page = inline(data, "f7", "words")
    tree = ElementTree.fromstring(page)
    ids = [element.get("id") for element in tree.iter() if element.get("id")]
    referred = re.findall(r'href="#([^"]*)"', page) + re.findall(r"url\(#([^)]*)\)", page)
    assert len(set(ids)) == len(ids)
    assert set(referred) == {*ids} - {"f7"}
    assert all(name.startswith("f7") for name in map(str, ids))
    original = ElementTree.fromstring(data)
    texts = [element.text for element in original.iter("{http://www.w3.org/2000/svg}text")]
    assert [element.text for element in tree.iter("text")] == texts
    for shape in ("path", "use"):
        assert page.count(f"<{shape} ") == data.count(f"<{shape} ".encode())
    rules = set(re.findall(r"\.(f7s\d+)\{", page))
    assert rules == set(re.findall(r'class="(f7s\d+)"', page))


def test_points_of_the_same_runs_are_one_group() -> None:
    spots = [Spot(0.1 * x, 0.5, "mamba", f"at {x}", ("a", "b")) for x in range(3)]
    spots.append(Spot(0.5, 0.5, "s4", "other & <more>", ("c",)))
    page = inline(svg(""), "f", "words", spots)
    assert page.count('<g class="spots" data-architecture="mamba" data-text="at ">') == 1
    assert page.count('<g data-first="a" data-seeds="2">') == 1
    assert [f'data-text="{x}"' in page for x in range(3)] == [True] * 3
    assert page.count("<circle") == 4
    assert page.count("data-first") == 2
    assert '<g class="spots" data-architecture="s4" data-text="other &amp; &lt;more&gt;">' in page
    assert re.search('<circle cx="[0-9.]+" cy="[0-9.]+" data-first="c"/>', page)
