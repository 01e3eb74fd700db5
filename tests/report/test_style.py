"""Colours of architectures stay apart, also for readers without red or green cones."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from bench.report.style import FIXED, LOOKS, MUTED, looks

CONES = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}
"""Matrices of Machado, Oliveira and Fernandes (2009) at full severity, on linear RGB."""
TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def lab(colour: str, sight: str) -> tuple[float, float, float]:
    """CIE L*a*b* (D65) of a hexadecimal colour as a kind of sight has it."""
    rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(CONES[sight] @ linear, 0, 1) / TO_XYZ.sum(axis=1)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return 116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])


def difference(first: tuple[float, float, float], second: tuple[float, float, float]) -> float:
    """CIEDE2000, after Sharma, Wu and Dalal (2005)."""
    (l1, a1, b1), (l2, a2, b2) = first, second
    chroma = (math.hypot(a1, b1) + math.hypot(a2, b2)) / 2
    g = 0.5 * (1 - math.sqrt(chroma**7 / (chroma**7 + 25**7)))
    a1, a2 = (1 + g) * a1, (1 + g) * a2
    c1, c2 = math.hypot(a1, b1), math.hypot(a2, b2)
    h1, h2 = (math.degrees(math.atan2(b, a)) % 360 for a, b in ((a1, b1), (a2, b2)))
    turn = 0.0 if c1 * c2 == 0 else (h2 - h1 + 180) % 360 - 180
    lightness, mean_c = (l1 + l2) / 2, (c1 + c2) / 2
    hue = h1 + h2 if c1 * c2 == 0 else (h1 + turn / 2) % 360
    t = (
        1 - 0.17 * math.cos(math.radians(hue - 30)) + 0.24 * math.cos(math.radians(2 * hue))
        + 0.32 * math.cos(math.radians(3 * hue + 6)) - 0.2 * math.cos(math.radians(4 * hue - 63))
    )  # fmt: skip
    s_l = 1 + 0.015 * (lightness - 50) ** 2 / math.sqrt(20 + (lightness - 50) ** 2)
    s_c, s_h = 1 + 0.045 * mean_c, 1 + 0.015 * mean_c * t
    rotation = -math.sin(math.radians(60 * math.exp(-(((hue - 275) / 25) ** 2))))
    rotation *= 2 * math.sqrt(mean_c**7 / (mean_c**7 + 25**7))
    d_l, d_c = (l2 - l1) / s_l, (c2 - c1) / s_c
    d_h = 2 * math.sqrt(c1 * c2) * math.sin(math.radians(turn / 2)) / s_h
    return math.sqrt(d_l**2 + d_c**2 + d_h**2 + rotation * d_c * d_h)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ],
)
def test_the_distance_is_ciede2000(
    first: tuple[float, float, float], second: tuple[float, float, float], expected: float
) -> None:
    """Pairs of Sharma's test data."""
    assert difference(first, second) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("sight", list(CONES))
@pytest.mark.parametrize("page", ["colour", "dark"])
def test_colours_are_ten_apart(sight: str, page: str) -> None:
    colours = [getattr(look, page) for look in LOOKS]
    distances = {
        (one, other): difference(lab(one, sight), lab(other, sight))
        for one, other in itertools.combinations(colours, 2)
    }
    assert min(distances.values()) >= 10, min(distances, key=distances.__getitem__)


@pytest.mark.parametrize("sight", list(CONES))
def test_no_colour_is_the_grey_of_baselines(sight: str) -> None:
    grey = lab(MUTED, sight)
    assert min(difference(lab(look.colour, sight), grey) for look in LOOKS) >= 10


def test_colours_and_markers_are_each_used_once() -> None:
    for field in ("colour", "dark", "marker"):
        assert len({getattr(look, field) for look in LOOKS}) == len(LOOKS), field


def test_architectures_of_plugins_get_further_colours_then_other_dashes() -> None:
    plugins = [f"own_{index}" for index in range(2 * len(LOOKS))]
    by_name = looks([*FIXED, *plugins])
    paper = {by_name[name].colour for name in FIXED}
    further = [name for name in plugins if by_name[name].turn == 0]
    assert len(further) == len(LOOKS) - len(FIXED)
    assert paper.isdisjoint(by_name[name].colour for name in further)
    assert len({(look.colour, look.turn) for look in by_name.values()}) == len(by_name)


def test_architectures_take_the_colours_of_those_that_are_not_shown_before_any_colour_is_used_twice() -> None:
    names = ["mamba", *(f"own_{index}" for index in range(len(LOOKS) - 1))]
    by_name = looks(names)
    assert len({look.colour for look in by_name.values()}) == len(names)
    assert by_name["mamba"] == LOOKS[FIXED["mamba"]]
