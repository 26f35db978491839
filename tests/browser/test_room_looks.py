"""What the control room looks like in a real browser: only read, so one tab on one set of months will do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import tab_of, visitor
from tests.browser.eighteen_years import PAGES, write_eighteen_years
from tests.browser.test_pages import POOR_CONTRAST
from tests.support import axe
from tests.support.deployment import deployed
from tests.unit.ui.conftest import publisher, write_include, written_runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Page


@pytest.fixture(scope="module")
def tab(site, browser, tmp_path_factory, airflow_database) -> Iterator[Page]:
    """A tab on eighteen years of months."""
    include, results = (tmp_path_factory.mktemp(name) for name in ("include", "results"))
    with (
        deployed(include_dir=write_include(include)),
        written_runs() as dag_run,
        tab_of(browser, site, results) as page,
    ):
        write_eighteen_years(results, publisher(results), dag_run)
        yield page


@pytest.fixture
def visit(site, tab, complaints) -> Iterator[Callable[..., Page]]:
    with visitor(site, tab, complaints) as visit:
        yield visit


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_the_text_can_be_read(visit, complaints, keep_screenshot, name, theme):
    page = visit(PAGES[name], scheme=theme)
    keep_screenshot(page, f"{name}-{theme}")
    assert page.evaluate(POOR_CONTRAST) == []
    assert complaints == []


@pytest.mark.parametrize(("width", "zoom"), [(400, 1), (1100, 2), (1600, 1)])
@pytest.mark.parametrize("name", PAGES)
def test_nothing_overflows_sideways(visit, keep_screenshot, name, width, zoom):
    # A browser's zoom leaves the page fewer, larger pixels.
    page = visit(PAGES[name], width=width // zoom)
    keep_screenshot(page, f"{name}-{width}-zoom-{zoom}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width // zoom


@pytest.mark.parametrize("name", PAGES)
def test_the_focus_can_be_seen_at_every_stop(visit, name):
    page = visit(PAGES[name], width=400)
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    unseen, stops = [], 0
    for _ in range(30):
        page.keyboard.press("Tab")
        html, style, width, inside = page.evaluate("""() => {
            const element = document.activeElement, look = getComputedStyle(element);
            const place = element.getBoundingClientRect();
            const across = place.right > 0 && place.left < innerWidth;
            const inside = across && place.bottom > 0 && place.top < innerHeight;
            const html = element.outerHTML.slice(0, 120);
            return [html, look.outlineStyle, parseFloat(look.outlineWidth), inside];
        }""")
        if html.startswith("<body"):
            break
        stops += 1
        if style == "none" or width < 1 or not inside:
            unseen.append(html)
    assert stops > 1
    assert unseen == []


@pytest.mark.parametrize(("theme", "width"), [("light", 1100), ("dark", 400)])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(visit, name, theme, width):
    if not axe.program().is_file():
        pytest.skip("!!! NOT TESTED: no axe-core; `python -m tests.support.axe` installs it")
    page = visit(PAGES[name], scheme=theme, width=width)
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    page.evaluate(axe.program().read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")
    assert [
        (each["id"], [node["html"][:200] for node in each["nodes"]][:3]) for each in found["violations"]
    ] == []
