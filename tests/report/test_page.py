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
    other = [
        task_named("orthogonal_outlier_regression", n_points=60, outlier_probability=p) for p in (0.3, 0.5)
    ]
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


def test_verdicts_come_first(opened: Opened) -> None:
    first = opened.page.locator("main h2").first
    assert first.inner_text().startswith("Verdicts")
    counts = opened.page.locator(".counts").inner_text().split()
    assert counts[:2] == ["1", "reproduced"]
    assert counts[2:4] == ["1", "contradicted"]


def spots(opened: Opened) -> Any:
    return opened.page.locator("section[aria-labelledby=figure-2] .spot")


def test_pointing_at_a_point_tells_the_run_behind_it(opened: Opened) -> None:
    spot = spots(opened).first
    spot.scroll_into_view_if_needed()
    opened.page.wait_for_timeout(100)
    box = spot.bounding_box()
    opened.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tip = opened.page.locator("#tip")
    assert tip.is_visible()
    text = tip.inner_text()
    for label in ("learning rate", "training FLOPs", "parameters", "wall time", "device", "commit"):
        assert label in text
    assert spot.get_attribute("data-runs").split()[0] in text
    opened.page.mouse.move(2, 2)
    assert not tip.is_visible()


def test_a_tap_tells_it_too(browser: Any, address: str) -> None:
    phone = Opened(browser, address, has_touch=True, viewport={"width": 420, "height": 800})
    spot = spots(phone).first
    spot.scroll_into_view_if_needed()
    phone.page.wait_for_timeout(100)
    box = spot.bounding_box()
    phone.page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert phone.page.locator("#tip").is_visible()
    wide = phone.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    assert not wide, "the page itself scrolls sideways on a phone"
    phone.page.context.close()


def test_arrow_keys_walk_the_points(opened: Opened) -> None:
    opened.page.locator("section[aria-labelledby=figure-2] .drawing").focus()
    opened.page.keyboard.press("ArrowRight")
    first = opened.page.locator("#tip").inner_text()
    opened.page.keyboard.press("ArrowRight")
    assert opened.page.locator("#tip").inner_text() != first
    opened.page.keyboard.press("Escape")
    assert not opened.page.locator("#tip").is_visible()


def test_an_architecture_can_be_left_out_and_brought_back(opened: Opened) -> None:
    mamba = opened.page.locator("section[aria-labelledby=figure-2] .spot[data-architecture=mamba]").first
    assert mamba.is_visible()
    opened.page.get_by_label("Mamba", exact=True).uncheck()
    assert not mamba.is_visible()
    assert opened.page.locator(
        "section[aria-labelledby=figure-2] .spot[data-architecture=transformer]"
    ).first.is_visible()
    opened.page.get_by_role("button", name="Show all").click()
    mamba.wait_for(state="visible", timeout=5000)


def test_a_task_can_be_singled_out(opened: Opened) -> None:
    opened.page.get_by_label("Task").select_option("Sparse parity")
    assert not opened.page.locator("#figure-2").is_visible()
    assert opened.page.locator("#figure-5").is_visible()
    assert "parts shown" in opened.page.locator("#shown").inner_text()


def test_searching_keeps_what_is_found(opened: Opened) -> None:
    opened.page.get_by_label("Search").fill("figure 5")
    assert opened.page.locator("#figure-5").is_visible()
    assert not opened.page.locator("#figure-2").is_visible()


def test_a_link_into_something_folded_opens_it(opened: Opened) -> None:
    folded = opened.page.locator("section[aria-labelledby=regression] details").first
    opened.page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = false; })")
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


def test_it_prints_with_everything_unfolded(opened: Opened, tmp_path: Path) -> None:
    opened.page.pdf(path=str(tmp_path / "page.pdf"))
    assert (tmp_path / "page.pdf").stat().st_size > 20_000
    opened.page.emulate_media(media="print")
    assert not opened.page.locator("#controls").is_visible()
