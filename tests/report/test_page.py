"""The page in a real browser: it opens without errors or network, and what can be pressed works.

Needs Chromium and the extra `browser`. Where they are absent these tests are skipped; with
BENCH_REQUIRE_BROWSER=1, as in CI, they fail instead.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from synthetic import claim_of, experiment_of, grid, pool_of, suite_of, task_named

from bench.check import check
from bench.check.claims import Claims
from bench.report.figures import drawing
from bench.report.write import write_report

pytestmark = pytest.mark.slow

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SIZES = ((2, 128), (4, 256))


def lacking() -> str | None:
    """Why there is no browser to test with; None when there is one."""
    try:
        import axe_playwright_python.sync_playwright  # noqa: F401
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "the extra 'browser' is not installed"
    return None if CHROMIUM else "no Chromium on the PATH"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    why = lacking()
    if why and os.environ.get("BENCH_REQUIRE_BROWSER"):
        pytest.fail(why)
    if why:
        pytest.skip(why)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A report of a few tasks, some with long names, and two claims, on disk."""
    tasks = [task_named(n_points=8), task_named("sparse_parity", n_points=8)]
    other = [task_named("many_outlier_regression", n_points=60, outlier_probability=p) for p in (0.3, 0.5)]
    regression = grid(tasks[0], ("transformer", "mamba"), SIZES, (1e-4, 2e-4))
    parity = grid(tasks[1], ("transformer", "mamba"), SIZES)
    outliers = [run for task in other for run in grid(task, ("mamba",))]
    suite = suite_of(
        experiment_of(outliers, "outliers", rebuilds="Figure 3"),
        experiment_of(regression, "regression", rebuilds="Figure 2"),
        experiment_of(parity, "parity", rebuilds="Figure 5"),
    )
    pool = pool_of([*regression, *parity, *outliers])
    measure = {"experiment": "regression", "architecture": "mamba"}
    claims = {
        name: claim_of({"statement": name, "source": "Figure 2", "measure": measure, "bound": bound})
        for name, bound in (("It learns.", {"at_most": 2.0}), ("It is perfect.", {"at_most": 1e-9}))
    }
    verdicts = check(Claims(Path("x"), claims), suite, pool, allow_synthetic=True)
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:  # the page shows no other kind of picture
        patch.setattr(drawing, "_METADATA", {"svg": drawing._METADATA["svg"]})
        patch.setattr(drawing, "MOST_WORKERS", 1)
        write_report(suite, pool, folder, {}, verdicts)
    return (folder / "index.html").as_uri()


class Opened:
    """A page, and everything it complained about or asked the network for."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.page = browser.new_context(**options).new_page()
        self.troubles: list[str] = []
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("console", lambda message: self.troubles.append(message.text))
        self.page.on("request", self._asked)
        self.address = address
        self.page.goto(address)

    def _asked(self, request: Any) -> None:
        if request.url != self.address and not request.url.startswith("data:"):
            self.troubles.append(request.url)


@pytest.fixture
def opened(browser: Any, address: str) -> Iterator[Opened]:
    page_opened = Opened(browser, address)
    yield page_opened
    page_opened.page.context.close()


def test_it_opens_without_an_error_or_a_request(opened: Opened) -> None:
    opened.page.wait_for_load_state("networkidle")
    assert opened.troubles == []
    assert opened.page.locator("#controls").is_visible()


def test_verdicts_and_their_figure_are_on_the_first_screen(browser: Any, address: str) -> None:
    opened = Opened(browser, address, viewport={"width": 1280, "height": 800})
    first = opened.page.locator("main h2").first
    assert first.inner_text().startswith("Verdicts")
    for part in ("#verdicts", ".claims li >> nth=1", "section[aria-labelledby=figure-2] .drawing"):
        box = opened.page.locator(part).first.bounding_box()
        assert box["y"] + box["height"] <= 800, part
    # Figure 2 has two decided claims, Figure 3 stands before it in the suite and has none.
    assert opened.page.locator("main section[data-part] h2").first.get_attribute("id") == "figure-2"
    opened.page.context.close()


def test_verdicts_are_counted(opened: Opened) -> None:
    counts = opened.page.locator(".counts").inner_text().split()
    assert counts[:2] == ["1", "reproduced"]
    assert counts[2:4] == ["1", "contradicted"]


def spots(opened: Opened) -> Any:
    return opened.page.locator("section[aria-labelledby=figure-2] .spots circle")


def settle(opened: Opened) -> None:
    """Wait for the frame after a scroll, in which the page hears of it and hides what it tells of a point."""
    frame = "requestAnimationFrame(() => requestAnimationFrame(done))"
    opened.page.evaluate(f"() => new Promise(done => {frame})")


def test_pointing_at_a_point_tells_the_run_behind_it(opened: Opened) -> None:
    spot = spots(opened).first
    spot.scroll_into_view_if_needed()
    settle(opened)
    box = spot.bounding_box()
    opened.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tip = opened.page.locator("#tip")
    assert tip.is_visible()
    text = tip.inner_text()
    for label in ("learning rate", "training FLOPs", "parameters", "wall time", "device", "commit"):
        assert label in text
    assert spot.evaluate("spot => spot.closest('[data-first]').dataset.first") in text
    opened.page.mouse.move(2, 2)
    assert not tip.is_visible()


def test_a_tap_tells_it_too(browser: Any, address: str) -> None:
    phone = Opened(browser, address, has_touch=True, viewport={"width": 420, "height": 800})
    spot = spots(phone).first
    spot.scroll_into_view_if_needed()
    settle(phone)
    box = spot.bounding_box()
    phone.page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert phone.page.locator("#tip").is_visible()
    wide = phone.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    assert not wide, "the page itself scrolls sideways on a phone"
    phone.page.context.close()


def test_arrow_keys_walk_the_points(opened: Opened) -> None:
    opened.page.locator("section[aria-labelledby=figure-2] .drawing").focus()
    settle(opened)
    opened.page.keyboard.press("ArrowRight")
    first = opened.page.locator("#tip").inner_text()
    opened.page.keyboard.press("ArrowRight")
    assert opened.page.locator("#tip").inner_text() != first
    opened.page.keyboard.press("Escape")
    assert not opened.page.locator("#tip").is_visible()


def test_an_architecture_can_be_left_out_and_brought_back(opened: Opened) -> None:
    mamba = opened.page.locator(
        "section[aria-labelledby=figure-2] .spots[data-architecture=mamba] circle"
    ).first
    assert mamba.is_visible()
    opened.page.get_by_label("Mamba", exact=True).uncheck()
    assert not mamba.is_visible()
    assert opened.page.locator(
        "section[aria-labelledby=figure-2] .spots[data-architecture=transformer] circle"
    ).first.is_visible()
    opened.page.get_by_role("button", name="Show all").click()
    mamba.wait_for(state="visible")


def choose(opened: Opened, task: str) -> None:
    opened.page.locator("#controls select[name=task]").select_option(task)


@pytest.mark.parametrize(
    ("task", "shown", "hidden"),
    [
        ("Sparse parity", "figure-5", "figure-2"),
        ("Many-outlier regression", "figure-3", "figure-5"),  # two tasks of that name, told apart by settings
    ],
)
def test_a_task_finds_the_figures_that_show_it(opened: Opened, task: str, shown: str, hidden: str) -> None:
    choose(opened, task)
    assert opened.page.locator(f"#{shown}").is_visible()
    assert not opened.page.locator(f"#{hidden}").is_visible()
    assert "parts shown" in opened.page.locator("#shown").inner_text()
    tasks = opened.page.locator("#run-table tbody td:nth-child(2)").all_inner_texts()
    assert tasks
    assert all(name.startswith(task) for name in tasks)


def test_filters_apply_to_verdicts(opened: Opened) -> None:
    claims = opened.page.locator("[data-claim]:visible")
    assert claims.count() == 2
    choose(opened, "Sparse parity")
    assert claims.count() == 0  # both claims are about linear regression
    choose(opened, "Linear regression")
    opened.page.locator("#controls select[name=verdict]").select_option("contradicted")
    assert [claim.get_attribute("data-verdict") for claim in claims.all()] == ["contradicted"]
    opened.page.get_by_label("Mamba", exact=True).uncheck()
    assert claims.count() == 0  # the claims are about Mamba


def test_filters_stay_in_the_address(browser: Any, opened: Opened) -> None:
    choose(opened, "Sparse parity")
    opened.page.get_by_label("Transformer", exact=True).uncheck()
    opened.page.locator("#run-table thead button", has_text="seed").click()
    opened.page.locator("nav a", has_text="Runs").click()
    address = opened.page.evaluate("location.href")
    again = Opened(browser, address)
    again.address = address
    assert again.page.locator("#controls select[name=task]").input_value() == "Sparse parity"
    assert not again.page.get_by_label("Transformer", exact=True).is_checked()
    assert not again.page.locator("#figure-2").is_visible()
    assert again.page.locator("#run-table th[aria-sort=ascending]").inner_text().startswith("seed")
    assert again.page.evaluate("document.getElementById('all-runs').getBoundingClientRect().top") < 400
    again.page.context.close()


# --- search -----------------------------------------------------------------------------------


def search(opened: Opened, words: str) -> None:
    opened.page.locator("#controls input[name=words]").fill(words)


def test_searching_keeps_what_is_found(opened: Opened) -> None:
    search(opened, "figure 5")
    assert opened.page.locator("#figure-5").is_visible()
    assert not opened.page.locator("#figure-2").is_visible()


def test_searching_marks_matches_and_unfolds_nothing(opened: Opened) -> None:
    state = "document.querySelectorAll('details[open]').length"
    height = "document.documentElement.scrollHeight"
    opened.page.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = false; })")
    before, tall = opened.page.evaluate(state), opened.page.evaluate(height)
    search(opened, "validation prompts")
    assert opened.page.evaluate(state) == before
    assert opened.page.evaluate(height) <= tall
    assert opened.page.evaluate("CSS.highlights.get('found').size") > 3
    assert opened.page.locator("summary[data-matches]").count() > 0
    search(opened, "")
    assert opened.page.evaluate("CSS.highlights.has('found')") is False


def test_the_next_match_opens_only_its_own_fold(opened: Opened) -> None:
    opened.page.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = false; })")
    search(opened, "These errors choose and are not the ones reported")
    button = opened.page.locator("#next-match")
    matches = int(button.inner_text().split()[-1])
    assert matches > 1
    button.click()
    captions = opened.page.locator("caption", has_text="These errors choose")
    assert captions.first.is_visible()
    assert not captions.last.is_visible()


# --- runs -------------------------------------------------------------------------------------


def rows(opened: Opened) -> Any:
    return opened.page.locator("#run-table tbody tr[data-run]")


def column(opened: Opened, number: int) -> list[str]:
    texts: list[str] = opened.page.locator(
        f"#run-table tbody tr[data-run] > *:nth-child({number})"
    ).all_inner_texts()
    return texts


def test_the_table_has_every_run_and_sorts(opened: Opened) -> None:
    assert rows(opened).count() == 14
    button = opened.page.locator("#run-table thead button", has_text="score")
    button.click()
    scores = [float(text.split()[0]) for text in column(opened, 8)]
    assert scores == sorted(scores)
    opened.page.locator("#run-table thead button", has_text="score").click()
    scores = [float(text.split()[0]) for text in column(opened, 8)]
    assert scores == sorted(scores, reverse=True)


def test_a_run_unfolds_to_its_curve_settings_evaluations_provenance_and_command(
    opened: Opened, tmp_path: Path
) -> None:
    key = rows(opened).nth(1).get_attribute("data-run")
    opened.page.locator("#run-table tbody button", has_text=key).click()
    fold = opened.page.locator(".fold")
    for title in ("Settings", "Evaluations", "Provenance", "Repeat this run"):
        assert fold.locator("h4", has_text=title).count() == 1, title
    assert fold.locator("svg polyline").count() + fold.locator("svg circle").count() >= 2
    assert "batch size" in fold.inner_text()
    assert "test prompts" in fold.inner_text()
    assert key in fold.locator("pre").inner_text()
    opened.page.locator("#run-table tbody button", has_text=key).click()
    assert fold.count() == 0


def test_two_runs_stand_side_by_side_and_their_differences_first(browser: Any, opened: Opened) -> None:
    keys = [rows(opened).nth(place).get_attribute("data-run") for place in (4, 5)]
    for key in keys:
        opened.page.get_by_label(f"compare {key}").check()
    beside = opened.page.locator("#beside")
    heads = beside.locator("thead th").all_inner_texts()
    assert heads[1:] == [f"{keys[0]} (solid line)", f"{keys[1]} (dashed line)"]
    dashes = "(line) => getComputedStyle(line).strokeDasharray"
    lines = opened.page.locator("#beside svg").first.locator("polyline").all()
    assert [line.evaluate(dashes) == "none" for line in lines] == [True, False]
    differing = beside.locator("tr.differs").count()
    classes = [row.get_attribute("class") for row in beside.locator("tbody tr").all()]
    assert classes[:differing] == ["differs"] * differing
    assert differing < len(classes)
    assert beside.locator("tr.differs th", has_text="learning rate").count() == 1
    again = Opened(browser, opened.page.evaluate("location.href"))
    assert again.page.locator("#beside thead th").all_inner_texts() == heads
    again.page.context.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_leaves_the_page_sideways(browser: Any, address: str, width: int) -> None:
    opened = Opened(browser, address, viewport={"width": width, "height": 844})
    keys = [rows(opened).nth(place).get_attribute("data-run") for place in (0, 1)]
    opened.page.evaluate(f"location.hash = 'run={keys[0]}&compare={keys[0]},{keys[1]}'")
    opened.page.wait_for_selector(".fold")
    opened.page.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
    wide = opened.page.evaluate("document.documentElement.scrollWidth")
    assert wide == width
    if width == 390:  # a figure keeps its size in print and scrolls in its box
        boxes = opened.page.evaluate(
            "[...document.querySelectorAll('.scrollable-figure')].map((box) => "
            "[box.clientWidth, box.scrollWidth, box.querySelector('svg').getBoundingClientRect().width])"
        )
        assert {round(figure) for _, _, figure in boxes} == {312, 648}
        assert all(room <= 350 and scroll >= figure - 1 for room, scroll, figure in boxes)
    opened.page.context.close()


def test_a_link_into_something_folded_opens_it(opened: Opened) -> None:
    folded = opened.page.locator("section[aria-labelledby=regression] details").first
    opened.page.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = false; })")
    anchor = folded.locator("h4").first.get_attribute("id")
    opened.page.evaluate(f"location.hash = {anchor!r}")
    opened.page.wait_for_function(f"document.getElementById({anchor!r}).closest('details').open")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_passes_an_accessibility_check(browser: Any, address: str, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    opened = Opened(browser, address, color_scheme=scheme)
    opened.page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    results = Axe().run(opened.page)
    assert results.violations_count == 0, results.generate_report()
    opened.page.context.close()


def test_no_table_is_wider_than_a_printed_page(browser: Any, address: str) -> None:
    a4 = 718  # CSS pixels between the margins
    opened = Opened(browser, address, viewport={"width": a4, "height": 1000})
    opened.page.emulate_media(media="print")
    widths = "[...document.querySelectorAll('table')].map((table) => table.getBoundingClientRect().right)"
    assert max(opened.page.evaluate(widths)) <= a4
    opened.page.context.close()


def test_it_prints_with_everything_unfolded(opened: Opened, tmp_path: Path) -> None:
    opened.page.pdf(path=str(tmp_path / "page.pdf"))
    assert (tmp_path / "page.pdf").stat().st_size > 20_000
    opened.page.emulate_media(media="print")
    assert not opened.page.locator("#controls").is_visible()
