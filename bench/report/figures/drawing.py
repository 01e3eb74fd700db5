"""A drawn figure, its points, and its files: the same figure gives the same bytes.

A spot is a point that a reader may ask about. Its place is a fraction of the figure, so that it holds in
every file of the figure. Parts are named through matplotlib's group ids:
`tag(artist, "architecture", "mamba")`. `bench.report.page.svg` turns these ids into data attributes.

Encoding takes most of a report's time. Many figures are shared among processes. Each of them runs this
module, reads pickled figures and answers with their files.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.report.figures.layout import keep_text_inside
from bench.report.style import in_style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SEPARATOR = "\N{SYMBOL FOR UNIT SEPARATOR}"
"""Between the parts of a group id. No name contains it."""


@dataclass(frozen=True)
class Drawing:
    """A figure, its content in words, and the numbers behind it.

    Attributes:
        name: file name without its ending.
        caption: what is drawn and by which rule.
        description: the same for those who cannot see it.
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


def spots_of(
    axes: Axes, rows: Sequence[Mapping[Any, Any]], x: str, text: Callable[[Mapping[Any, Any]], str]
) -> list[Spot]:
    """The spots of points with a value, an architecture and run ids; `x` is the field of their position."""
    return [
        spot(axes, row[x], row["value"], row["architecture"], text(row), row["run_ids"].split())
        for row in rows
    ]


def tag(artists: Artist | Iterable[Artist], kind: str, value: str) -> None:
    """Record what artists belong to, in their group ids. Ids are numbered within their figure."""
    for artist in artists if isinstance(artists, Iterable) else (artists,):
        figure: Any = artist.get_figure(root=True)
        figure.bench_tags = getattr(figure, "bench_tags", 0) + 1
        artist.set_gid(SEPARATOR.join((kind, value, str(figure.bench_tags))))


_METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}


def encoded(figure: Figure) -> dict[str, bytes]:
    """The figure as svg, png (200 dpi) and pdf, without dates. No text is cut."""
    with in_style():
        keep_text_inside(figure)
    files = {}
    for kind, metadata in _METADATA.items():
        buffer = io.BytesIO()
        with in_style(), _glyphs_alone():
            figure.savefig(buffer, format=kind, metadata=metadata)
        files[kind] = buffer.getvalue()
    return files


@contextlib.contextmanager
def _glyphs_alone() -> Iterator[None]:
    """Embed fonts in PDFs without the tables by which text is laid out, which no viewer reads.

    Reading these tables of DejaVu Sans for each font of each figure takes almost half the time of a report,
    and matplotlib has no option to leave them out.
    """
    from fontTools import subset

    name = "_drop_tables_default"
    tables = getattr(subset.Options, name, None)
    if tables is None:  # another fontTools: slower, with the same pictures
        yield
        return
    setattr(subset.Options, name, [*tables, "GDEF", "GPOS", "GSUB", "kern"])
    try:
        yield
    finally:
        setattr(subset.Options, name, tables)


def all_encoded(figures: Mapping[str, Figure]) -> dict[str, dict[str, bytes]]:
    """`encoded` of every figure, by name, on several processors if there are many figures."""
    workers = min(MOST_WORKERS, os.cpu_count() or 1, len(figures) // FIGURES_A_WORKER)
    if workers < 2:
        return {name: encoded(figure) for name, figure in figures.items()}
    names = list(figures)
    shares = [names[index::workers] for index in range(workers)]
    files: dict[str, dict[str, bytes]] = {}
    processes = [_start({name: figures[name] for name in share}) for share in shares[1:]]
    files.update({name: encoded(figures[name]) for name in shares[0]})
    for process in processes:
        output, _ = process.communicate()
        if process.returncode:
            raise RuntimeError(f"drawing figures failed with exit code {process.returncode}")
        files.update(pickle.loads(output))
    return {name: files[name] for name in names}


FIGURES_A_WORKER, MOST_WORKERS = 6, 8
"""With fewer figures per process, starting another process takes longer than it saves."""


def _start(figures: Mapping[str, Figure]) -> subprocess.Popen[bytes]:
    """Start a process that encodes figures. It has read them when this returns."""
    package = str(Path(__file__).parents[3])
    path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.report.figures.drawing"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert process.stdin is not None
    process.stdin.write(pickle.dumps(dict(figures)))
    process.stdin.close()
    process.stdin = None  # `communicate` would close it again
    return process


if __name__ == "__main__":
    figures: dict[str, Figure] = pickle.load(sys.stdin.buffer)
    sys.stdout.buffer.write(pickle.dumps({name: encoded(figure) for name, figure in figures.items()}))
