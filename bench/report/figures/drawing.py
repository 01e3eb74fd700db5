"""A drawn figure with what a page needs to know of it: its points, and which parts belong to what.

A spot is a point that a reader may ask about. Its place is a fraction of the figure, so that it holds in
every file of the figure. Parts are named through matplotlib's group ids:
`tag(artist, "architecture", "mamba")`. `bench.report.figures.save` turns these ids into data attributes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SEPARATOR = "\N{SYMBOL FOR UNIT SEPARATOR}"
"""Between the parts of a group id: no name of ours or of a user's holds it."""


@dataclass(frozen=True)
class Drawing:
    """A figure, what it says in words, and the numbers behind it.

    Attributes:
        name: file name without its ending.
        caption: what is drawn and by which rule.
        description: the same for whoever cannot see it.
        spots: its points.
    """

    name: str
    figure: Figure
    caption: str
    description: str
    numbers: pd.DataFrame
    spots: Sequence[Spot] = ()


@dataclass(frozen=True)
class Spot:
    """One drawn point.

    Attributes:
        x: from the figure's left edge, as a fraction of its width.
        y: from its foot, as a fraction of its height.
        architecture: as in suites.
        text: what it shows, in words.
        run_ids: the runs behind it.
    """

    x: float
    y: float
    architecture: str
    text: str
    run_ids: tuple[str, ...]


def spot(axes: Axes, x: float, y: float, architecture: str, text: str, run_ids: Iterable[str]) -> Spot:
    """The spot of a data point; the axes' limits and scales must be final."""
    pixel = axes.transData.transform((float(x), float(y)))
    place = axes.figure.transFigure.inverted().transform(pixel)
    return Spot(float(place[0]), float(place[1]), architecture, text, tuple(run_ids))


def tag(artists: Artist | Iterable[Artist], kind: str, value: str) -> None:
    """Say what an artist (or each of several) belongs to; group ids are numbered within their figure."""
    for artist in artists if isinstance(artists, Iterable) else (artists,):
        figure: Any = artist.get_figure(root=True)
        figure.bench_tags = getattr(figure, "bench_tags", 0) + 1
        artist.set_gid(SEPARATOR.join((kind, value, str(figure.bench_tags))))
