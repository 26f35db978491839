"""The control room in a real browser: eighteen years of months, both themes, narrow and wide, by keyboard."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta

import pytest
from confidential_spark.cli.main import main
from confidential_spark.core.stages import TASK_IDS
from confidential_spark.ui.audit import routes as audit
from confidential_spark.ui.audit.rechecks import Rechecks

from tests.browser.test_pages import GREEN, POOR_CONTRAST, PREFIX, SANDBOX
from tests.support import axe
from tests.unit.ui.conftest import DAG_ID, SUMMARY, with_checks
from tests.unit.ui.gaps.test_gaps import dag, runs

__all__ = ["dag"]

ROOM = f"{PREFIX}/room?dag_id={DAG_ID}"
ELSEWHERE = {("spark.run_spark", "enclave_run"): {}}
GAPS = f"{PREFIX}/gaps/{DAG_ID}"
FILL = "20261129T101500Z"
MAY, JUNE = f"{DAG_ID}/month=2018-05", f"{DAG_ID}/month=2018-06"
PAGES = {
    "room": ROOM,
    "room-rows": f"{ROOM}&shade=rows",
    "trends": f"{PREFIX}/trends/{DAG_ID}",
    "compare": f"{PREFIX}/compare?left={MAY}&right={JUNE}",
    "month": f"{PREFIX}/results/{MAY}",
    "gaps": f"{GAPS}?first=2011-01&last=2018-12",
    "filling": f"{GAPS}/{FILL}",
    "audit": f"{PREFIX}/audit/{DAG_ID}?first=2017-06&last=2018-12",
    "refused": f"{PREFIX}/results/{DAG_ID}/month=2012-05",
    "list": f"{PREFIX}/",
    "runbook": f"{PREFIX}/runbooks/commands",
}


@pytest.fixture
def eighteen_years(publish, dag_run, tmp_path):
    """Months of every state; those of 2009 to 2017 are copies of another month, so they are refused."""
    genuine = publish(key="month=2018-01", report=with_checks())
    months = [f"{year}-{number:02d}" for year in range(2009, 2018) for number in range(1, 13)]
    for month in months[:30] + months[33:70] + months[71:]:
        folder = tmp_path / DAG_ID / ".versions" / f"month={month}" / "try-1"
        folder.parent.mkdir(parents=True)
        shutil.copytree(genuine, folder)
        (tmp_path / DAG_ID / f"month={month}").symlink_to(f".versions/month={month}/try-1")
    for number in range(2, 9):
        rows = {"accepted": number * 800_000}
        checks = with_checks("warn") if number == 3 else with_checks()
        publish(key=f"month=2018-{number:02d}", summary={**SUMMARY, "rows": rows}, report=checks)
    dag_run("success", GREEN)
    failed = {**dict.fromkeys(TASK_IDS, "upstream_failed"), "spark.run_spark": "failed"}
    start = datetime.now(UTC) - timedelta(seconds=75)
    for state, month, tasks in (
        ("failed", "2018-09", failed),
        ("running", "2018-10", {**dict.fromkeys(TASK_IDS[:4], "success"), "spark.run_spark": "running"}),
        ("queued", "2018-11", {}),
    ):
        dag_run(
            state, tasks, run_id=f"manual__{month}", conf={"month": month}, start_date=start, xcoms=ELSEWHERE
        )

    for number, (state, tasks) in enumerate((("success", GREEN), ("failed", failed), ("queued", {})), 7):
        names = ["2011-07", "2011-08", "2011-09"]
        conf = {"month": names[number - 7], "fill": {"id": FILL, "stop": True, "months": names}}
        dag_run(state, tasks, run_id=f"gaps__{FILL}__2011-0{number}", conf=conf, xcoms=ELSEWHERE)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_the_text_can_be_read(visit, eighteen_years, complaints, keep_screenshot, name, theme):
    page = visit(PAGES[name], scheme=theme)
    keep_screenshot(page, f"{name}-{theme}")
    assert page.evaluate(POOR_CONTRAST) == []
    assert complaints == []


@pytest.mark.parametrize(("width", "zoom"), [(400, 1), (1100, 2), (1600, 1)])
@pytest.mark.parametrize("name", PAGES)
def test_nothing_overflows_sideways(visit, eighteen_years, keep_screenshot, name, width, zoom):
    # A browser's zoom leaves the page fewer, larger pixels.
    page = visit(PAGES[name], width=width // zoom)
    keep_screenshot(page, f"{name}-{width}-zoom-{zoom}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width // zoom


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


@pytest.mark.parametrize("name", PAGES)
def test_the_focus_can_be_seen_at_every_stop(visit, eighteen_years, name):
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


@pytest.mark.parametrize(("theme", "width"), [("light", 1100), ("dark", 400)])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(visit, eighteen_years, name, theme, width):
    if not axe.program().is_file():
        pytest.skip("!!! NOT TESTED: no axe-core; `python -m tests.support.axe` installs it")
    page = visit(PAGES[name], scheme=theme, width=width)
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    page.evaluate(axe.program().read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")
    assert [
        (each["id"], [node["html"][:200] for node in each["nodes"]][:3]) for each in found["violations"]
    ] == []


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
