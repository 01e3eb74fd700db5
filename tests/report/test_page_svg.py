"""A figure on a page: shorter than its file, and the same picture."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from command import ROOT
from hypothesis import given
from hypothesis import strategies as st

from bench.report.figures.drawing import Spot
from bench.report.page.svg import inline

HEAD = '<?xml version="1.0"?><svg xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 200 100">'
POINTS = st.lists(st.tuples(st.floats(-500, 500), st.floats(-500, 500)), min_size=1, max_size=30)
FIGURES = sorted((ROOT / "reports/parity/figures").glob("*.svg"))[:4]


def svg(inside: str) -> bytes:
    return f"{HEAD}{inside}</svg>".encode()


def places(path: str) -> list[tuple[float, float]]:
    """The points of a path of absolute moves and relative lines."""
    at, points = (0.0, 0.0), []
    for command, numbers in re.findall(r"([Ml])([^Mlz]*)", path):
        values = [float(number) for number in re.findall(r"-?[\d.]+", numbers)]
        for x, y in zip(values[::2], values[1::2], strict=True):
            at = (x, y) if command == "M" else (at[0] + x, at[1] + y)
            points.append(at)
    return points


@given(POINTS)
def test_a_line_goes_through_its_points_to_a_tenth(points: list[tuple[float, float]]) -> None:
    path = "\n".join(f"{'L' if index else 'M'} {x:.6f} {y:.6f} " for index, (x, y) in enumerate(points))
    match = re.search(r' d="([^"]*)"', inline(svg(f'<path d="{path}z"/>'), "f", "words"))
    assert match
    assert match[1].endswith("z")
    for drawn, point in zip(places(match[1]), points, strict=True):
        assert drawn == pytest.approx(point, abs=0.0501)


def test_a_path_of_several_lines_begins_each_where_it_began() -> None:
    path = "M 1 2 \nL 3.04 4 \nz\nM 10 10 \nL 9 9.96 \nL 8 8 \n"
    assert 'd="M1 2l2 2zM10 10l-1 0 -1 -2"' in inline(svg(f'<path d="{path}"/>'), "f", "words")


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
    assert set(referred) == set(ids)
    assert all(name.startswith("f7-") for name in map(str, ids))
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
    assert page.count('<g data-architecture="mamba" data-runs="a b">') == 1
    assert page.count('<circle class="spot"') == 4
    assert 'data-text="other &amp; &lt;more&gt;"' in page
