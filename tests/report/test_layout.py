"""Figures in print: two widths, one size of text, nothing that covers anything else, shared axes."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from synthetic import experiment_of, grid, pool_of, run_of, suite_of, task_named

from bench.optimizers import AdamW
from bench.report.data.estimates import tasks_of
from bench.report.data.frame import looks_in, results_frame
from bench.report.data.references import references_frame
from bench.report.figures.axes import log_limits, logarithmic
from bench.report.figures.drawing import Drawing
from bench.report.figures.examples import error_against_examples
from bench.report.figures.flops import panel_of
from bench.report.figures.layout import (
    COLUMN,
    LINE,
    PAGE,
    keep_text_inside,
    most_ticks,
    new_grid,
    rows_with,
    shown_texts,
    text_width,
    wrapped,
)
from bench.report.figures.panel import Panel, absence_notes, grouped
from bench.report.figures.references import Reference, curves, draw, levels, name_lines, room_for_names
from bench.report.page.exhibits import drawn_exhibit
from bench.report.page.sections import section
from bench.report.style import LOOKS, MUTED, RC, in_style
from bench.run import Run
from bench.suite import Suite

LINEAR = task_named("linear_regression", n_points=20)
PARITY = task_named("sparse_parity", n_points=20)
SIZES = ((2, 128), (4, 256))
ALL = ("transformer", "mamba", "s4", "s4_mamba", "standard_hybrid", "mambaformer")


def suite() -> Suite:
    """Every figure of the paper from few runs, some of which are missing."""
    outliers = [
        run
        for name in ("many_outlier_regression", "orthogonal_outlier_regression")
        for run in grid(task_named(name), ALL[:4], SIZES)
    ]
    names = ("linear_regression", "sparse_linear_regression", "decision_tree")
    adam = grid(LINEAR, ("mamba", "transformer"), ((2, 128), (8, 64)))
    both = [*adam, *(Run.model_validate({**dict(run), "optimizer": AdamW()}) for run in adam)]
    thought = [
        run
        for hidden in (4, 8)
        for run in grid(task_named("chain_of_thought", hidden=hidden), sizes=SIZES[: hidden // 4])
    ]
    five = ("transformer", "transformer_first_mamba", "mamba", "standard_hybrid", "mambaformer")
    return suite_of(
        experiment_of([run for name in names for run in grid(task_named(name), ALL, SIZES)], "two"),
        experiment_of(outliers, "three", rebuilds="Figure 3"),
        experiment_of(thought, "four", rebuilds="Figure 4"),
        experiment_of(grid(PARITY, ALL[:4], seeds=(0, 1)), "five", rebuilds="Figure 5"),
        experiment_of(grid(PARITY, five, ((2, 64),), seeds=(0, 1, 2)), "seven", rebuilds="Figure 7"),
        experiment_of(both, "nine", rebuilds="Figures 9 and 10"),
    )


@pytest.fixture(scope="module")
def drawings() -> dict[str, Drawing]:
    plan = suite()
    pool = pool_of([run for place, run in enumerate(plan.runs) if place % 9])
    results, references = results_frame(plan.runs, pool, {}), references_frame(plan.runs, pool)
    numbers = (2, 3, 4, 5, 7, 9, 10)
    named = {f"Figure {n}": drawn_exhibit(f"Figure {n}", plan, results, references).drawing for n in numbers}
    drawn = {name: drawing for name, drawing in named.items() if drawing is not None}
    assert len(drawn) == len(numbers)
    runs = grid(PARITY, ALL, SIZES, learning_rates=(1e-4, 3e-4, 1e-3))
    own = suite_of(experiment_of(runs, "own", rebuilds="")).experiments[0]
    pool = pool_of(own.runs)
    results, references = results_frame(own.runs, pool, {}), references_frame(own.runs, pool)
    for drawing in section(own, results, references, looks_in(results), set()).drawings():
        drawn[drawing.name] = drawing
    for drawing in drawn.values():
        with in_style():
            FigureCanvasAgg(drawing.figure).draw()
    return drawn


NAMES = [
    *(f"Figure {n}" for n in (2, 3, 4, 5, 7, 9, 10)),
    *(f"own-sparse-parity-{kind}" for kind in ("examples", "flops", "training", "rates")),
]


def texts(figure: Any) -> list[Text]:
    """Every text that is drawn, labels of ticks included."""
    return [
        text
        for text in figure.findobj(Text)
        if text.get_text().strip() and text.get_visible() and text.get_window_extent().width > 0
    ]


def drawn_labels(figure: Any) -> list[Text]:
    """Texts without labels of ticks beyond the limits, which matplotlib keeps and does not draw."""
    hidden = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            drawn = {label for tick in axis._update_ticks() for label in (tick.label1,)}
            hidden |= {
                label for label in axis.findobj(Text) if label not in drawn and label is not axis.label
            }
    return [text for text in texts(figure) if text not in hidden]


@pytest.mark.parametrize("name", NAMES)
def test_figures_have_a_columns_or_a_pages_width_and_one_size_of_text(
    drawings: dict[str, Drawing], name: str
) -> None:
    figure = drawings[name].figure
    assert figure.get_size_inches()[0] in (COLUMN, PAGE)
    assert figure.get_size_inches()[1] <= 9.2  # the height of a page's text
    assert {text.get_fontsize() for text in texts(figure)} == {8}


@pytest.mark.parametrize("name", NAMES)
def test_no_text_covers_another_or_leaves_the_figure(drawings: dict[str, Drawing], name: str) -> None:
    figure = drawings[name].figure
    boxes = {text: text.get_window_extent() for text in drawn_labels(figure)}
    for text, box in boxes.items():
        inside = (figure.bbox.x0 - 1 <= box.x0, box.x1 <= figure.bbox.x1 + 1)
        assert all(inside), (text.get_text(), box, figure.bbox)
        assert figure.bbox.y0 - 1 <= box.y0 <= box.y1 <= figure.bbox.y1 + 1, text.get_text()
    for (one, a), (other, b) in itertools.combinations(boxes.items(), 2):
        apart = a.x1 <= b.x0 + 1 or b.x1 <= a.x0 + 1 or a.y1 <= b.y0 + 2 or b.y1 <= a.y0 + 2
        assert apart, (one.get_text(), other.get_text())


@pytest.mark.parametrize("name", NAMES)
def test_legends_lie_outside_of_the_data(drawings: dict[str, Drawing], name: str) -> None:
    figure = drawings[name].figure
    assert all(axes.get_legend() is None for axes in figure.axes)
    for legend in figure.legends:
        box = legend.get_window_extent()
        assert all(box.y1 <= axes.get_window_extent().y0 for axes in figure.axes)


@pytest.mark.parametrize("name", NAMES)
def test_a_panel_has_at_most_two_baselines_and_their_names_cover_no_data(
    drawings: dict[str, Drawing], name: str
) -> None:
    for axes in drawings[name].figure.axes:
        grey = [line for line in axes.get_lines() if to_hex(line.get_color()) == MUTED]
        assert len(grey) <= 2
        if name == "Figure 7":
            continue
        assert len([text for text in axes.texts if text.get_color() == MUTED]) >= len(grey)
        for text in axes.texts:
            box = text.get_window_extent()
            for line in axes.get_lines():
                if line in grey:
                    continue
                points = axes.transData.transform(line.get_xydata())
                inside = (points[:, 0] > box.x0) & (points[:, 0] < box.x1)
                inside &= (points[:, 1] > box.y0 + 2) & (points[:, 1] < box.y1 - 2)
                assert not inside.any(), (text.get_text(), points[inside])


@pytest.mark.parametrize(("name", "columns"), [("Figure 3", 2), ("Figure 9", 2), ("Figure 4", 2)])
def test_halves_that_are_compared_share_their_axis(
    drawings: dict[str, Drawing], name: str, columns: int
) -> None:
    axes = drawings[name].figure.axes
    for left, right in zip(axes[::columns], axes[1::columns], strict=True):
        assert left.get_ylim() == right.get_ylim()
        assert [tick.label1.get_visible() for tick in right.yaxis.get_major_ticks()].count(True) == 0
        if name != "Figure 4":
            assert left.get_xlim() == right.get_xlim()


def test_titles_name_the_task_the_size_and_the_evaluation(drawings: dict[str, Drawing]) -> None:
    def titles(name: str) -> list[str]:
        return [axes.get_title("left").replace("\n", " ") for axes in drawings[name].figure.axes]

    assert titles("Figure 3")[:2] == [
        "Many-outlier regression: at the 50th clean example", "Many-outlier regression: clean prompts",
    ]  # fmt: skip
    assert titles("Figure 5") == [
        "Sparse parity, 4×256: at the end",
        "Sparse parity, 4×256: mean over positions",
    ]
    assert titles("Figure 7") == ["Sparse parity, 2×64: training steps until learned"]


def test_the_grey_lines_are_the_best_predictor_and_the_one_nearest_to_the_worst_model() -> None:
    from bench.report.data.estimates import TaskResults
    from bench.report.figures.panel import Panel

    run = run_of(LINEAR, "mamba")
    pool = pool_of([run], errors=0.69)
    results, references = results_frame([run], pool, {}), references_frame([run], pool)
    task = TaskResults(results)
    panel = Panel(task.title, task.scale, task.curves(), references, task.series)
    means = references.groupby("name")["value"].mean()
    nearest = (means.drop("least squares") - 0.69).abs().idxmin()
    assert [reference.recorded for reference in curves(panel)] == ["least squares", nearest]
    names = [reference.name for reference in levels(panel)]
    assert names == ["trivial predictor", "floor: least squares"]


def test_a_long_legend_takes_more_rows_and_never_more_than_the_width() -> None:
    names = [f"an architecture with a long name, number {index}" for index in range(5)]
    with in_style():
        handles = [Line2D([], [], label=name) for name in names]
        made = new_grid(["title"], width=COLUMN, tall=1.0, handles=handles)
        FigureCanvasAgg(made.figure).draw()
        (legend,) = made.figure.legends
        box = legend.get_window_extent()
    assert box.x1 <= made.figure.bbox.x1
    assert box.y0 >= 0
    assert text_width(wrapped(names[0], 1.0)) <= 1.0 + 1e-9


def cut_texts(figure: Figure) -> list[str]:
    """Texts that are not wholly inside a figure, at the resolution of its PNG."""
    own_dpi = figure.dpi
    figure.set_dpi(RC["savefig.dpi"])
    canvas: Any = FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    boxes = {text: text.get_window_extent(canvas.get_renderer()) for text in shown_texts(figure)}
    width, height = figure.bbox.size
    figure.set_dpi(own_dpi)
    return [
        text.get_text()
        for text, box in boxes.items()
        if box.x0 < 0 or box.y0 < 0 or box.x1 > width or box.y1 > height
    ]


@pytest.mark.parametrize("name", NAMES)
def test_no_text_of_a_figure_is_cut(drawings: dict[str, Drawing], name: str) -> None:
    figure = drawings[name].figure
    with in_style():
        keep_text_inside(figure)
        assert cut_texts(figure) == []


WORDS = st.text("abcdefghijklmnopqrstuvwxyzABCWM0123456789_+=.,:-×βéß", min_size=1, max_size=60)
"""Names as a suite may have them, in letters of the figures' font."""


@settings(max_examples=15, deadline=None)
@given(
    title=st.lists(WORDS, min_size=1, max_size=3).map(" ".join),
    labels=st.lists(WORDS, min_size=1, max_size=4),
    low=st.floats(1e-9, 1e12),
    decades=st.floats(0.02, 9),
)
def test_whatever_names_and_limits_are_no_text_is_cut(
    title: str, labels: list[str], low: float, decades: float
) -> None:
    handles = [Line2D([], [], label=label) for label in labels]
    with in_style():
        grid = new_grid([title], width=COLUMN, tall=1.5, handles=handles, notes=[title])
        (axes,) = grid.axes
        for which in ("x", "y"):
            logarithmic(axes, which, low, low * 10**decades)
        axes.set_xlabel("training FLOPs")
        keep_text_inside(grid.figure)
        assert cut_texts(grid.figure) == []


@given(low=st.floats(1e12, 1e20), decades=st.floats(0.2, 9), width=st.floats(1.3, COLUMN - 0.7))
def test_labels_of_a_logarithmic_axis_do_not_touch(low: float, decades: float, width: float) -> None:
    with in_style():
        grid = new_grid([""], width=width + 0.7, tall=1.5, left=0.6, right=0.1)
        (axes,) = grid.axes
        logarithmic(axes, "x", low, low * 10**decades, most_ticks(grid.width))
        canvas = FigureCanvasAgg(grid.figure)
        grid.figure.draw_without_rendering()
        labels = [text for text in shown_texts(grid.figure) if text in axes.get_xticklabels()]
        boxes = [label.get_window_extent(canvas.get_renderer()) for label in labels]
        assert all(one.x1 < other.x0 for one, other in itertools.pairwise(boxes))


def test_panels_without_any_result_share_one_note() -> None:
    tasks = [task_named(name) for name in ("linear_regression", "decision_tree")]
    runs = [run for task in tasks for run in grid(task, ALL[:2], SIZES)]
    pool = pool_of([run for run in runs if run.task.name == "linear_regression" and run.size.width == 128])
    results, references = results_frame(runs, pool, {}), references_frame(runs, pool)
    notes = absence_notes([panel_of(task, references) for task in tasks_of(results)])
    assert len(notes) == 2
    assert notes[0].startswith("Linear regression")
    assert "Mamba 4×256: missing (1 of 1 run)" in notes[0]
    assert notes[1] == "All runs are missing: Decision tree."


def test_a_task_without_any_result_is_named_and_not_drawn() -> None:
    tasks = [task_named(name) for name in ("linear_regression", "decision_tree")]
    runs = [run for task in tasks for run in grid(task, ALL[:2], SIZES)]
    plan = suite_of(experiment_of(runs, "two"))
    pool = pool_of([run for run in runs if run.task.name == "linear_regression"])
    results, references = results_frame(runs, pool, {}), references_frame(runs, pool)
    drawing = drawn_exhibit("Figure 2", plan, results, references).drawing
    assert drawing is not None
    (axes,) = drawing.figure.axes
    assert axes.get_title(loc="left").startswith("Linear regression")
    notes = " ".join(text.get_text() for text in drawing.figure.texts)
    assert "All runs are missing: Decision tree." in notes
    assert "Decision tree" in drawing.description


def test_a_row_of_panels_that_share_axes_is_drawn_whole() -> None:
    has_data = [True, False, False, False, True, True]
    assert rows_with(range(6), 2, has_data.__getitem__) == [0, 1, 4, 5]
    assert rows_with(range(6), 1, has_data.__getitem__) == [0, 4, 5]
    assert rows_with(range(2), 2, lambda _: False) == [0, 1]


def test_models_that_are_absent_for_one_reason_share_it() -> None:
    assert grouped(["A: lost", "B: lost", "C: late"]) == "A: lost; B: lost; C: late"
    assert grouped(["A, x: lost", "B: late", "C: lost", "D: lost"]) == "A, x; C; D: each lost; B: late"


def test_a_name_stands_where_its_line_is_alone_and_covers_no_band() -> None:
    """Two lines and a curve begin as one. The floor then falls steeply; the curve has a band above it."""
    x = np.arange(41.0)
    curve, floor = 1 - x / 60, np.where(x < 20, 1 - x / 60, 0.0)
    ridge = curve - np.maximum(0.0, x - 20) / 60
    with in_style():
        (axes,) = new_grid(["a title"], width=COLUMN, tall=2.0).axes
        axes.set(xlim=(0, 40), ylim=(0, 1.2))
        named = [Reference("floor: one", "floor", x, floor), Reference("another", "baseline", x, ridge)]
        draw(axes, named)
        axes.plot(x, curve)
        axes.fill_between(x, curve, curve + 0.15)
        names = name_lines(axes, named)
    data = axes.transData.transform
    band = np.array(
        [(place, y) for place in x for y in np.linspace(curve[int(place)], curve[int(place)] + 0.15)]
    )
    for name, own in zip(names, (floor, ridge), strict=True):
        box = name.get_window_extent()
        covered = data(band)
        inside = (covered[:, 0] > box.x0) & (covered[:, 0] < box.x1)
        assert not (inside & (covered[:, 1] > box.y0) & (covered[:, 1] < box.y1)).any(), name.get_text()
        alone = data(np.column_stack([x, own])[x > 20]) if own is ridge else data([(19.5, y) for y in own])
        middle = np.array([(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2])
        reach = box.width / 2 + 3 * box.height
        assert np.hypot(*(alone - middle).T).min() <= reach, name.get_text()


def test_lines_of_notes_begin_below_one_another() -> None:
    words = " ".join(f"Model {number}: missing ({number} of {number} runs);" for number in range(2, 99))
    with in_style():
        for width in (COLUMN, PAGE):
            figure = new_grid(["a title"], width=width, tall=1.5, notes=[words]).figure
            keep_text_inside(figure)  # moves lines that are too long
            starts = [text.get_window_extent().x0 for text in figure.texts]
            assert max(starts) - min(starts) < 1, width


def test_the_label_of_a_tick_at_the_end_of_an_axis_is_moved_inside() -> None:
    with in_style():
        (axes,) = (grid := new_grid(["a title"], width=COLUMN, tall=1.5, right=0.06)).axes
        logarithmic(axes, "x", 2e10, 2e11)
        assert cut_texts(grid.figure) == ["2×10¹¹"]
        keep_text_inside(grid.figure)
        assert cut_texts(grid.figure) == []


@pytest.mark.parametrize("scores", [(5e-324, 5e-324), (1e-300, 1e38), (1e38, 1e38), (0.0, 5e-324, 1.0)])
def test_scores_at_the_ends_of_floats_have_an_axis_and_names(scores: tuple[float, ...]) -> None:
    axes = Figure().add_subplot()
    axes.plot(range(len(scores)), scores)
    low, high = room_for_names(*log_limits(scores), 2.0, logarithmic=True, below=True)
    logarithmic(axes, "y", low, high)
    assert 0 < low < high < float("inf")
    axes.set_yscale("linear")
    axes.set_ylim(0, 1)
    (text,) = name_lines(axes, [Reference("floor", "floor", None, (0.5, 0.5))])
    assert text.get_text() == "floor"


@pytest.mark.parametrize("seeds", [(0, 1, 2), (0,)])
def test_figure_5_says_what_its_bands_are_over(seeds: tuple[int, ...]) -> None:
    plan = suite_of(
        experiment_of(
            grid(PARITY, ("mamba",), ((2, 128),), seeds=seeds)
            + grid(PARITY, ("transformer",), ((2, 128),), seeds=(0, 1, 2)),
            "five",
            rebuilds="Figure 5",
        )
    )
    pool = pool_of(plan.runs)
    results, references = results_frame(plan.runs, pool, {}), references_frame(plan.runs, pool)
    drawing = drawn_exhibit("Figure 5", plan, results, references).drawing
    assert drawing is not None
    (note,) = [text.get_text() for text in drawing.figure.texts if "Bands:" in text.get_text()]
    over = "prompts and seeds" if len(seeds) > 1 else "prompts and, with several seeds, over seeds"
    assert f"over {over}." in " ".join(note.split())


def panel_with_floor(floor: list[float], errors: list[float]) -> Panel:
    """Linear regression with one model and a floor, both by position."""
    run = run_of(task_named(n_points=len(floor)))
    pool = pool_of([run])
    task = tasks_of(results_frame([run], pool, {}))[0]
    data = task.curves().assign(value=errors, low=errors, high=errors)
    rows = references_frame([run], pool)
    rows = rows[rows["kind"] == "floor"].sort_values("examples").assign(value=floor)
    return Panel(task.title, task.scale, data, rows, task.series)


def name_of_floor(panel: Panel) -> tuple[Any, Text | None]:
    """The axes of errors against examples, and the name of the floor there."""
    figure, _ = error_against_examples(panel, {"mamba": LOOKS[0]})
    (axes,) = figure.axes
    return axes, next((text for text in axes.texts if text.get_text().startswith("floor")), None)


def test_a_floor_that_falls_to_zero_has_its_name_beside_it_without_a_leader() -> None:
    errors = [1.0, 0.7, 0.4, 0.2, 0.15, 0.12, 0.1, 0.09]
    axes, name = name_of_floor(panel_with_floor([1.0, 0.6, 0.3, *[0.0] * 5], errors))
    assert axes.get_yscale() == "linear"
    assert axes.get_ylim()[0] < 0
    assert name is not None
    foot = axes.transAxes.transform(name.get_position())[1]
    zero = axes.transData.transform((0, 0))[1]
    assert abs(foot - zero) <= 1.2 * LINE * axes.figure.dpi
    assert not [part for part in axes.collections if isinstance(part, LineCollection)]


def test_a_floor_below_a_logarithmic_axis_is_named_in_a_note_alone() -> None:
    errors = [0.1, 0.01, 3e-3, 2e-3, 1e-3, 1e-3, 1e-3, 1e-3]
    axes, name = name_of_floor(panel_with_floor([0.0] * 8, errors))
    assert axes.get_yscale() == "log"
    assert name is None
    assert any("Below the axis" in text.get_text() for text in axes.figure.texts)
