"""Years in a real browser: true now, stale and refused, both themes, narrow and wide."""

from __future__ import annotations

import pytest

from tests.browser.test_pages import POOR_CONTRAST, PREFIX
from tests.support import axe
from tests.unit.ui.conftest import DAG_ID
from tests.unit.ui.results.test_years import (
    PAGE,
    both_dags_are_known,
    genuine,
    more_trips,
    publish_month,
    replaced,
    year,
)

__all__ = ["both_dags_are_known", "genuine", "publish_month", "year"]

ROOM = f"{PREFIX}/room?dag_id={DAG_ID}"
CHANGES = {
    "true-now": lambda year, publish_month, tmp_path: None,
    "stale": lambda year, publish_month, tmp_path: replaced(publish_month, tmp_path),
    "refused": lambda year, publish_month, tmp_path: more_trips(year),
}
NAMES = {"true-now": "true now", "stale": "STALE", "refused": "refused"}


@pytest.fixture(params=CHANGES)
def state(request, year, publish_month, tmp_path) -> str:
    """A published year in one of its states."""
    CHANGES[request.param](year, publish_month, tmp_path)
    return request.param


@pytest.mark.parametrize(("theme", "width"), [("light", 1100), ("dark", 1100), ("light", 400), ("dark", 400)])
@pytest.mark.parametrize("place", ["room", "year"])
def test_it_can_be_read(visit, state, complaints, keep_screenshot, place, theme, width) -> None:
    page = visit(ROOM if place == "room" else f"{PREFIX}{PAGE}", scheme=theme, width=width)
    if place == "room":
        page.locator(".whole .name", has_text=NAMES[state]).wait_for(timeout=60_000)
    keep_screenshot(page, f"{place}-{state}-{theme}-{width}")
    assert page.evaluate(POOR_CONTRAST) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert complaints == []
    if not axe.program().is_file():
        pytest.skip("!!! NOT TESTED: no axe-core; `python -m tests.support.axe` installs it")
    page.evaluate(axe.program().read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in found["violations"]] == []


def test_the_year_is_reached_by_arrow_keys(visit, year) -> None:
    page = visit(ROOM)
    page.locator("[data-grid] a[tabindex='0']").focus()
    for _ in range(12):
        page.keyboard.press("ArrowRight")
    assert "2018 as a whole" in page.evaluate("document.activeElement.ariaLabel")
    page.keyboard.press("Shift+ArrowLeft")
    assert page.evaluate("document.activeElement.ariaLabel").startswith("2018-12")
