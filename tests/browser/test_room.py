"""What the control room does in a real browser, over eighteen years of months, by keyboard and by mouse."""

from __future__ import annotations

import pytest
from confidential_spark.cli.main import main
from confidential_spark.ui.audit import routes as audit
from confidential_spark.ui.audit.rechecks import Rechecks

from tests.browser.eighteen_years import GAPS, ROOM, write_eighteen_years
from tests.browser.test_pages import PREFIX, SANDBOX
from tests.unit.ui.conftest import DAG_ID, with_checks
from tests.unit.ui.gaps.test_gaps import dag, runs

__all__ = ["dag"]


@pytest.fixture
def eighteen_years(publish, dag_run, tmp_path):
    write_eighteen_years(tmp_path, publish, dag_run)


@pytest.mark.parametrize("outside", ["light", "dark"])
@pytest.mark.parametrize("system", ["light", "dark"])
def test_it_follows_airflows_theme_and_not_the_systems(visit, eighteen_years, outside, system):
    page = visit("/api/v2/version", scheme=system)
    page.evaluate(f"""
        new Promise(done => {{
            document.documentElement.className = "{outside}";
            const frame = document.createElement("iframe");
            frame.sandbox = "{SANDBOX}";
            frame.src = "{ROOM}";
            frame.onload = done;
            document.body.append(frame);
        }})""")
    paper = "getComputedStyle(document.body).backgroundColor"
    papers = {"light": "rgb(255, 255, 255)", "dark": "rgb(13, 17, 23)"}
    inside = page.frames[1]
    assert inside.evaluate(paper) == papers[outside]
    other = "dark" if outside == "light" else "light"
    page.evaluate(f"document.documentElement.className = '{other}'")
    inside.wait_for_function(f"{paper} === '{papers[other]}'")


def test_the_keyboard_reaches_everything(visit, eighteen_years):
    page = visit(ROOM)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"

    assert page.locator("[data-grid] a[tabindex='0']").count() == 1, "the matrix is one stop"
    page.locator("[data-grid] a[tabindex='0']").focus()
    for key, label in (
        ("ArrowRight", "2009-02"),
        ("ArrowDown", "2010-02"),
        ("ArrowLeft", "2010-01"),
        ("ArrowUp", "2009-01"),
    ):
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.ariaLabel").startswith(label)
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.ariaLabel").startswith("2009-01"), "it stops at the edge"


def chosen(page):
    return page.evaluate("""() => {
        const form = document.querySelector("[data-range]");
        const { first, last } = form.elements;
        return [first.value, last.value, document.querySelectorAll(".picked").length];
    }""")


def cell(page, month):
    return page.locator(f"[data-grid] td[data-month='{month}'] a")


def test_a_range_is_chosen_by_keyboard(visit, eighteen_years):
    page = visit(ROOM)
    cell(page, "2011-06").focus()
    page.keyboard.press("ArrowRight")
    assert chosen(page)[2] == 0, "moving alone chooses nothing"
    for key in ("Shift+ArrowRight", "Shift+ArrowRight", "Shift+ArrowDown"):
        page.keyboard.press(key)
    assert chosen(page) == ["2011-07", "2012-09", 15]
    assert page.locator("[data-said]").text_content() == "2011-07 to 2012-09: 15 months, 3 not published."
    page.keyboard.press("Escape")
    assert chosen(page)[2] == 0
    for key in ("Shift+ArrowUp", "ArrowRight", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    page.wait_for_url(f"**/results/{DAG_ID}/month%3D2011-11")


def test_a_range_is_chosen_by_mouse_and_no_month_is_opened(visit, eighteen_years):
    page = visit(ROOM)
    address = page.url
    cell(page, "2012-03").hover()
    page.mouse.down()
    cell(page, "2012-01").hover()
    cell(page, "2011-11").hover()
    page.mouse.up()
    assert chosen(page) == ["2011-11", "2012-03", 5]
    cell(page, "2013-01").click(modifiers=["Shift"])
    assert chosen(page) == ["2012-03", "2013-01", 11]
    assert page.url == address
    cell(page, "2012-05").click()
    page.wait_for_url(f"**/results/{DAG_ID}/month%3D2012-05")


def test_a_chosen_range_stays_while_months_change(visit, eighteen_years, publish):
    page = visit(ROOM)
    cell(page, "2011-06").focus()
    page.keyboard.press("Shift+ArrowRight")
    publish(key="month=2011-07", report=with_checks())
    page.locator("[aria-label^='2011-07, passed']").wait_for(timeout=60_000)
    assert chosen(page) == ["2011-06", "2011-07", 2]


@pytest.mark.parametrize("script", [True, False], ids=["with-our-script", "without-it"])
def test_a_range_leads_to_its_gaps(visit, eighteen_years, script):
    page = visit("/api/v2/version")
    if not script:
        page.route("**/page.js", lambda route: route.abort())
    page.goto(page.url.replace("/api/v2/version", ROOM))
    page.locator("select[name=first]").select_option("2011-01")
    page.locator("select[name=last]").select_option("2012-12")
    if script:
        assert chosen(page) == ["2011-01", "2012-12", 24]
    page.get_by_role("button", name="Fill the gaps of the range").click()
    page.wait_for_url(f"**/gaps/{DAG_ID}?first=2011-01&last=2012-12")


def test_what_changes_is_shown_without_a_reload_and_the_focus_stays(visit, eighteen_years, publish):
    page = visit(ROOM)
    page.evaluate("window.stays = true")
    page.locator("[aria-label^='2018-02']").focus()
    publish(key="month=2011-07", report=with_checks())
    page.locator("[aria-label^='2011-07, passed']").wait_for(timeout=60_000)
    assert page.evaluate("window.stays")
    assert page.evaluate("document.activeElement.ariaLabel").startswith("2018-02")
    assert page.locator("[data-clock]").text_content().startswith("live ")


def test_it_says_the_same_without_its_script(visit, eighteen_years, browser):
    page = visit("/api/v2/version")
    page.route("**/page.js", lambda route: route.abort())
    page.goto(page.url.replace("/api/v2/version", ROOM))
    assert page.locator("[aria-label^='2018-02']").count() == 1
    assert page.locator("[data-clock]").is_hidden()


def test_gaps_are_filled_and_cancelled_in_airflows_frame(visit, dag, publish, site, complaints):
    """With the browser's own Origin, from the sandbox that Airflow shows pages in."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    for month in ("2018-01", "2018-04"):
        publish(key=f"month={month}", report=with_checks())
    page = visit("/api/v2/version")
    token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="user", role="USER"))
    page.context.add_cookies([{"name": "_token", "value": token, "url": site, "httpOnly": True}])
    page.evaluate(f"""
        new Promise(done => {{
            const frame = document.createElement("iframe");
            frame.sandbox = "{SANDBOX}";
            frame.src = "{GAPS}?first=2018-01&last=2018-04";
            frame.onload = done;
            document.body.append(frame);
        }})""")
    frame = page.frames[1]
    frame.get_by_role("button", name="Start 2 runs").click()
    frame.get_by_text("0 of 2 runs are over").wait_for()
    assert [month for month, *_ in runs()] == ["2018-03", "2018-02"], "newest first"
    frame.get_by_role("button", name="Cancel the rest").click()
    frame.get_by_role("heading", name="Fill the gaps of nytaxi_local").wait_for()
    assert runs() == []
    assert complaints == []


def test_a_range_is_verified_anew_and_handed_out(
    visit, eighteen_years, complaints, tmp_path, monkeypatch, no_requests
):
    """By keyboard: the button, then the verdicts without loading the page again, then the bundle."""
    monkeypatch.setattr(audit, "RECHECKS", Rechecks())
    page = visit(f"{PREFIX}/audit/{DAG_ID}?first=2017-12&last=2018-09")
    page.get_by_role("button", name="Re-verify 9 published months").press("Enter")
    page.get_by_text("Verified anew at").wait_for(timeout=60_000)
    assert page.get_by_role("status").inner_text() == "8 VERIFIED 1 REFUSED 1 MISSING"
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the bundle").press("Enter")
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    assert path.name == f"audit-{DAG_ID}-2017-12-to-2018-09.zip"
    assert main(["audit", "verify", str(path), "--trust-bundle", "--from", "2018-01", "--to", "2018-08"]) == 0
    assert complaints == []
