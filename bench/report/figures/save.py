"""Figures as files and as SVG inside a page; the same figure gives the same bytes.

Encoding is most of a report's time. Many figures are shared among processes, each of which runs this
module: it reads pickled figures and answers with their files.
"""

from __future__ import annotations

import io
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.report.figures.drawing import SEPARATOR, Spot
from bench.report.figures.settings import import_matplotlib
from bench.report.style import DARK, in_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
"""What a page's figures are set in. Laid out with DejaVu Sans, which is wider than all of these."""


def encoded(figure: Figure) -> dict[str, bytes]:
    """The figure as svg, png (200 dpi) and pdf, without dates."""
    files = {}
    for kind, metadata in _METADATA.items():
        buffer = io.BytesIO()
        with in_style():
            figure.savefig(buffer, format=kind, metadata=metadata)
        files[kind] = buffer.getvalue()
    return files


def all_encoded(figures: Mapping[str, Figure]) -> dict[str, dict[str, bytes]]:
    """`encoded` of every figure, by name, on as many processors as it is worth."""
    workers = min(MOST_WORKERS, os.cpu_count() or 1, len(figures) // FIGURES_A_WORKER)
    if workers < 2:
        return {name: encoded(figure) for name, figure in figures.items()}
    names = list(figures)
    shares = [names[index::workers] for index in range(workers)]
    found: dict[str, dict[str, bytes]] = {}
    others = [_start({name: figures[name] for name in share}) for share in shares[1:]]
    found.update({name: encoded(figures[name]) for name in shares[0]})
    for other in others:
        output, _ = other.communicate()
        if other.returncode:
            raise RuntimeError(f"drawing figures failed with exit code {other.returncode}")
        found.update(pickle.loads(output))
    return {name: found[name] for name in names}


FIGURES_A_WORKER, MOST_WORKERS = 6, 8
"""Fewer figures than this for each are not worth starting another process for."""


def _start(figures: Mapping[str, Figure]) -> subprocess.Popen[bytes]:
    """A process that encodes figures; it has read them when this returns."""
    package = str(Path(__file__).parents[3])
    path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.report.figures.save"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert process.stdin is not None
    process.stdin.write(pickle.dumps(dict(figures)))
    process.stdin.close()
    process.stdin = None  # `communicate` would close it again
    return process


def inline(svg: bytes, prefix: str, description: str, spots: Sequence[Spot] = ()) -> str:
    """An SVG element for a page: ids made unique by `prefix`, colours that follow the page's.

    Every colour of `bench.report.style` becomes a CSS variable with that colour as its fallback, so
    that a dark page can lighten it. Text stays text. Group ids of `drawing.tag` become data attributes;
    spots become invisible circles that the page's script finds.
    """
    text = svg.decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(rf'\bid="(\w+){SEPARATOR}([^"]*?){SEPARATOR}\d+"', r'data-\1="\2"', text)
    text = re.sub(r'\bid="([^"]*)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r'href="#([^"]*)"', rf'href="#{prefix}-\1"', text)
    text = re.sub(r"url\(#([^)]*)\)", rf"url(#{prefix}-\1)", text)
    text = text.replace("xlink:href", "href")
    # Only inside style attributes: a name that happens to read like a colour stays as it is.
    text = re.sub(r'style="[^"]*"', lambda match: _themed(match[0]), text)
    opening = text[: text.index(">") + 1]
    view = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', opening)
    size = view[0] if view else ""
    circles = _circles(spots, float(view[1]), float(view[2])) if view else ""
    start = f'<svg {size} role="img" aria-label="{escape(description)}">'
    return start + text[len(opening) :].rstrip().removesuffix("</svg>") + circles + "</svg>"


def _circles(spots: Sequence[Spot], width: float, height: float) -> str:
    return "".join(
        f'<circle class="spot" cx="{each.x * width:.1f}" cy="{(1 - each.y) * height:.1f}" r="5" '
        f'data-architecture="{escape(each.architecture)}" data-runs="{escape(" ".join(each.run_ids))}" '
        f'data-text="{escape(each.text)}"/>'
        for each in spots
    )


def _themed(style: str) -> str:
    for colour in DARK:
        style = style.replace(colour, f"var({variable(colour)}, {colour})")
    return style.replace("'DejaVu Sans'", FONTS)


def variable(colour: str) -> str:
    """The CSS variable that stands for a colour of a figure."""
    return f"--f-{colour.removeprefix('#')}"


if __name__ == "__main__":
    import_matplotlib()
    asked: dict[str, Figure] = pickle.load(sys.stdin.buffer)
    sys.stdout.buffer.write(pickle.dumps({name: encoded(figure) for name, figure in asked.items()}))
