"""Every action of the pages in the real Airflow, by a browser: as an administrator, as a viewer, as nobody.

The DAG of the months stays paused: what is started waits, so nothing here depends on how long a month takes.
The image's build needs a Docker engine (`tests/docker`); here a task says what it would have measured, and
the tasks after it are the real ones.
"""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from confidential_spark.cli.main import main
from confidential_spark.hooks.results.folder_store import FolderStore
from confidential_spark.verification.policy.ledger import read_ledger

from tests.browser.conftest import browser
from tests.integration.live_airflow import LiveAirflow, end_all, wait_until
from tests.support.places import ROOT
from tests.support.published_range import include_folder, month_files, publish
from tests.unit.ui.measurements.conftest import PROPOSED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, FrameLocator, Page

__all__ = ["browser"]

pytestmark = [pytest.mark.scheduler, pytest.mark.timeout(1500)]
PAGES, DAG = "/confidential-spark", "nytaxi_local"
IMAGE_DAG, ASK, POLICY = "enclave_image", "approve_measurement", "simulation-image"
MEASURED = {"image": PROPOSED.to_xcom(), "revision": "0123456"}
PUBLISHED = ("2018-03", "2018-06")
IMAGE_DAG_FILE = f'''
from airflow.sdk import DAG, task
from confidential_spark.image_build.approval import (
    ApproveMeasurementOperator, CompareWithLedgerOperator, PublishImageOperator, RecordApprovalOperator,
)
from confidential_spark.pipelines.image import approval_timeout
from confidential_spark.pipelines.job import result_of

with DAG("{IMAGE_DAG}", schedule=None, is_paused_upon_creation=False, render_template_as_native_obj=True):
    @task
    def measure_enclave():
        return {MEASURED!r}

    said = measure_enclave()
    compared = CompareWithLedgerOperator(task_id="compare_with_ledger", measured=said)
    approved = ApproveMeasurementOperator(
        task_id="{ASK}", measured=said, comparison=result_of(compared), response_timeout=approval_timeout()
    )
    recorded = RecordApprovalOperator(task_id="record_approval", measured=said, decision=result_of(approved))
    published = PublishImageOperator(task_id="publish_image", measured=said, trigger_rule="none_failed")
    compared >> approved >> recorded >> published
'''
SEND = """([place, fields]) => fetch(place, { method: "POST", body: new URLSearchParams(fields) })
    .then(async answer => [answer.status, await answer.text()])"""
PATIENCE_MS = 120_000
PAPERS = {"light": "rgb(255, 255, 255)", "dark": "rgb(13, 17, 23)"}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveAirflow]:
    live = LiveAirflow(tmp_path_factory.mktemp("actions"), dag_id=DAG)
    dags, include = live.folder / "dags", live.folder / "include"
    dags.mkdir()
    (dags / "enclave_image.py").write_text(IMAGE_DAG_FILE)
    months = (ROOT / "dags" / "nytaxi.py").read_text(encoding="utf-8")
    (dags / "nytaxi.py").write_text(f"{months}\n{DAG}.is_paused_upon_creation = True\n")
    shutil.copytree(ROOT / "include", include, ignore=shutil.ignore_patterns("*.jsonl"))
    shutil.copytree(include_folder(live.folder / "own"), include, dirs_exist_ok=True)
    for number, month in enumerate(PUBLISHED):
        publish(FolderStore(live.results, DAG), month, month_files(month, trips=number))
    bundle = {
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(dags)},
    }
    live.variables.update(
        # The folder itself is the project's, whatever a caller says.
        AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST=json.dumps([{"name": "dags-folder", **bundle}]),
        AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS="admin:admin,ann:admin,viewer:viewer",
        CONFIDENTIAL_SPARK_INCLUDE_DIR=str(include),
        CONFIDENTIAL_SPARK_IMAGE_POLICY=POLICY,
        CONFIDENTIAL_SPARK_IMAGE_SECOND_PERSON="true",
        CONFIDENTIAL_SPARK_IMAGE_REQUESTERS="admin,ann",
        CONFIDENTIAL_SPARK_DCSV3_POLICY=POLICY,
    )
    try:
        live.ensure_running()
        yield live
    finally:
        end_all(live.folder)


@pytest.fixture
def visit(live: LiveAirflow, browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open a page as a user of Airflow, or as nobody."""
    contexts = []

    def visit(user: str | None, path: str, **options: Any) -> Page:
        context = browser.new_context(
            base_url=live.address, viewport={"width": 1100, "height": 900}, **options
        )
        # Machines are slow at times, and Airflow's own page is large.
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        if user:
            cookie = {"name": "_token", "value": live.token_of(user), "url": live.address, "httpOnly": True}
            context.add_cookies([cookie])
        page = context.new_page()
        page.goto(path)
        return page

    yield visit
    for context in contexts:
        context.close()


def in_airflow(page: Page) -> FrameLocator:
    """Return the control room within Airflow's own page."""
    room = page.frame_locator("iframe")
    room.get_by_role("heading", name="Control room").wait_for()
    return room


def send(page: Page, place: str, **fields: str) -> tuple[int, str]:
    """Send a form that the page does not show, from the page's own origin."""
    status, text = page.evaluate(SEND, [place, fields])
    return int(status), str(text)


def runs(live: LiveAirflow, months: tuple[str, ...]) -> list[tuple[str, str, str]]:
    """Return month, state and user of the runs that were started for these months, in order."""
    rows = live.rows("select conf, state, triggering_user_name from dag_run where dag_id = ?", DAG)
    found = [(json.loads(conf).get("month"), state, user) for conf, state, user in rows]
    return sorted(run for run in found if run[0] in months)


def test_a_chosen_range_is_started_cancelled_and_resumed(live: LiveAirflow, visit: Any) -> None:
    months = ("2018-04", "2018-05")
    page = visit("admin", "/plugin/control-room")
    room = in_airflow(page)
    room.locator("td[data-month='2018-04'] a").focus()
    page.keyboard.press("Shift+ArrowRight")
    room.get_by_role("button", name="Fill the gaps of the range").press("Enter")
    room.get_by_role("button", name="Start 2 runs").press("Enter")
    room.get_by_text("0 of 2 runs are over").wait_for()
    room.get_by_text("is paused").first.wait_for()
    assert runs(live, months) == [(month, "queued", "admin") for month in months]

    fill = page.frames[-1].url
    viewer = visit("viewer", fill)
    assert viewer.get_by_role("button", name="Cancel the rest").count() == 0
    status, said = send(viewer, f"{fill}/cancel")
    assert (status, "Airflow did not cancel" in said) == (403, True)
    assert len(runs(live, months)) == 2

    room.get_by_role("button", name="Cancel the rest").press("Enter")
    room.get_by_role("heading", name="Fill the gaps of").wait_for()
    assert runs(live, months) == []

    page.goto(f"{PAGES}/gaps/{DAG}?first=2018-04&last=2018-05&order=oldest")
    page.get_by_role("button", name="Start 2 runs").click()
    page.get_by_text("0 of 2 runs are over").wait_for()
    for month in months:
        run = f"dags/{DAG}/dagRuns/gaps__{page.url.rpartition('/')[2]}__{month}"
        # Airflow ends no run whose tear-down is to come.
        ended = live.patch(f"{run}/taskInstances/validation.clean_staging", {"new_state": "skipped"})
        assert (ended.status, live.patch(run, {"state": "failed"}).status) == (200, 200)
    assert [state for _, state, _ in runs(live, months)] == ["failed"] * 2
    page.get_by_text("2 of 2 runs are over").wait_for()
    page.get_by_role("link", name="Resume: fill what remains (2)").click()
    page.get_by_role("button", name="Start 2 runs").click()
    page.get_by_text("0 of 2 runs are over").wait_for()
    states = [state for _, state, _ in runs(live, months)]
    assert states == ["failed", "queued"] * 2


def test_a_published_month_is_run_again_from_its_page(live: LiveAirflow, visit: Any) -> None:
    page = visit("admin", f"{PAGES}/results/{DAG}/month=2018-03")
    page.get_by_role("link", name="Run it again").click()
    page.get_by_role("button", name="Start 1 run").click()
    page.get_by_text("0 of 1 runs are over").wait_for()
    assert runs(live, ("2018-03",)) == [("2018-03", "queued", "admin")]


@pytest.mark.parametrize("user", ["admin", "viewer"])
def test_a_range_is_verified_anew_and_handed_over(live: LiveAirflow, visit: Any, user: str) -> None:
    """Both only read, so the right to see the runs is enough."""
    page = visit(user, f"{PAGES}/audit/{DAG}?first=2018-03&last=2018-06")
    page.get_by_role("button", name="Re-verify 2 published months").click()
    page.get_by_text("Verified anew at").wait_for()
    assert page.get_by_role("status").inner_text() == "2 VERIFIED 2 MISSING"
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the bundle").click()
    path = live.folder / f"{user}-{download.value.suggested_filename}"
    download.value.save_as(path)
    own = live.folder / "own"
    files = ["--policy", own / "policies" / "simulation.yaml", "--job-file", own / "jobs" / "nytaxi.py"]
    said = main(["audit", "verify", str(path), *map(str, files), "--from", "2018-06", "--to", "2018-06"])
    assert said == 0


@pytest.mark.parametrize(
    ("location", "refused"),
    [
        pytest.param("wasbs://trips@account.blob.core.windows.net/yellow/{year}", "", id="blobs"),
        pytest.param("s3://trips/yellow", "does not match", id="another-storage"),
        pytest.param(
            "wasbs://t@a.blob.core.windows.net/y?sig=secret", "does not match", id="with-its-secret"
        ),
    ],
)
def test_the_trigger_form_takes_a_location_of_blobs(
    live: LiveAirflow, visit: Any, location: str, refused: str
) -> None:
    page = visit("admin", f"/dags/{DAG}")
    page.get_by_role("button", name="Trigger").first.click()
    form = page.locator("[role=dialog][data-state=open]")
    form.locator("#element_month").wait_for(state="attached")
    if not form.locator("#element_month").is_visible():
        form.get_by_role("button", name="Run", exact=True).click()
    form.locator("#element_month").fill("2016-01")
    form.locator("#element_input").fill(location)
    form.locator("#element_input").press("Tab")
    # Without this, what other tests have started would begin to run.
    form.get_by_text(re.compile("^Unpause .* on trigger")).click()
    with page.expect_response(lambda answer: answer.request.method == "POST") as answer:
        form.get_by_role("button", name="Trigger").click()
    stored = live.rows("select count(*) from dag_run where conf like ?", f"%{json.dumps(location)[1:-1]}%")
    assert (answer.value.ok, stored) == (not refused, [(0 if refused else 1,)])
    assert live.get(f"dags/{DAG}").body["is_paused"]
    if refused:
        form.get_by_text(f"Invalid input for param input: '{location}' {refused}").wait_for()
        form.get_by_text("Never with a SAS token in it").first.wait_for()


def test_commands_are_copied_and_the_theme_followed_in_airflows_frame(visit: Any) -> None:
    page = visit("viewer", "/plugin/control-room")
    room = in_airflow(page)
    # The machine's own clipboard is none of a test's business.
    page.add_init_script("navigator.clipboard.writeText = async text => { window.copied = text; };")
    room.locator("td[data-month='2018-03'] a").click()
    command = room.locator("code[data-copy]").first.text_content()
    frame = page.frames[-1]
    room.get_by_role("button", name="Copy").first.click()
    room.get_by_role("button", name="Copied").wait_for()
    assert frame.evaluate("() => window.copied") == command
    frame.evaluate("() => { navigator.clipboard.writeText = async () => { throw new Error(); }; }")
    room.get_by_role("button", name="Copied").click()
    room.get_by_role("button", name="Selected: press Ctrl+C").wait_for()
    assert frame.evaluate("() => getSelection().toString()").split() == str(command).split()

    paper = "getComputedStyle(document.body).backgroundColor"
    for theme in ("dark", "light"):
        page.evaluate(f"document.documentElement.className = '{theme}'")
        frame.wait_for_function(f"{paper} === '{PAPERS[theme]}'")


def test_a_viewer_is_offered_nothing_that_is_refused(visit: Any) -> None:
    page = visit("viewer", f"{PAGES}/results/{DAG}/month=2018-03")
    page.get_by_role("link", name="Run it again").click()
    page.get_by_text("You may look at this DAG and not start it").wait_for()
    assert page.get_by_role("button", name=re.compile("^Start ")).count() == 0


def test_a_viewer_starts_nothing(live: LiveAirflow, visit: Any) -> None:
    before = live.rows("select count(*) from dag_run")
    page = visit("viewer", f"{PAGES}/gaps/{DAG}?first=2010-01&last=2010-02")
    for fields in ({"month": "2010-01"}, {"month": "2018-06", "again": "on"}):
        status, said = send(page, page.url, **fields)
        assert status == 403
        assert f"Airflow did not start {fields['month']}: Forbidden" in said
        assert "Ask Airflow's administrator" in said.replace("&#39;", "'")
    assert live.rows("select count(*) from dag_run") == before


@pytest.mark.parametrize(
    "path",
    [
        "room",
        "",
        f"results/{DAG}/month=2018-03",
        f"gaps/{DAG}?first=2018-04&last=2018-05",
        f"audit/{DAG}/bundle.zip",
        "measurements",
    ],
)
def test_nobody_gets_the_login_page(live: LiveAirflow, visit: Any, path: str) -> None:
    page = visit(None, f"{PAGES}/{path}")
    assert page.url.startswith(f"{live.address}/auth/login")
    page.get_by_role("button", name=re.compile("sign in|log in", re.IGNORECASE)).wait_for()


def test_nobodys_forms_do_nothing(live: LiveAirflow, visit: Any) -> None:
    before = live.rows("select count(*) from dag_run")
    page = visit(None, "/auth/login")
    for path in (f"gaps/{DAG}", f"gaps/{DAG}/20260101T000000Z/cancel", f"audit/{DAG}", "measurements/x"):
        status, said = send(page, f"{PAGES}/{path}", month="2010-01", answer="Approve")
        assert (status, "You are not logged in." in said) == (401, True)
    assert live.rows("select count(*) from dag_run") == before


def ask(live: LiveAirflow) -> str:
    """Start a run that asks, as ann."""
    body = {"logical_date": None, "conf": {}}
    answer = live.request("POST", f"/api/v2/dags/{IMAGE_DAG}/dagRuns", body, token=live.token_of("ann"))
    assert answer.status == 200, answer
    return str(answer.body["dag_run_id"])


def wait_until_asked(live: LiveAirflow, run_id: str) -> None:
    # Not the task's state: an answer before the executor's own word that the task waits makes Airflow
    # 3.3.2 take the task for lost, and ask again.
    waits = re.compile(rf"Finished: .*task_id={ASK}, run_id={re.escape(run_id)}, .*state=awaiting_input")
    log = live.home / "scheduler.log"
    wait_until(lambda: waits.search(log.read_text(errors="replace")), "somebody is asked", 180)


def test_a_measurement_is_refused_rejected_then_approved(live: LiveAirflow, visit: Any) -> None:
    ledger = live.folder / "include" / "policies" / "approvals-simulated.jsonl"
    refused, rejected, run_id = ask(live), ask(live), ask(live)
    for each in (refused, rejected, run_id):
        wait_until_asked(live, each)
    details = f"dags/{IMAGE_DAG}/dagRuns/{refused}/taskInstances/{ASK}/-1/hitlDetails"
    asked = live.get(details).body
    assert list(asked["params"]) == ["rebuilt_mrenclave"], "Airflow's own form has the field"
    other = {"chosen_options": ["Approve"], "params_input": {"rebuilt_mrenclave": "09" * 32}}
    assert live.patch(details, other).status == 200

    admin = visit("admin", f"{PAGES}/measurements/{rejected}")
    admin.get_by_role("button", name="Reject: nothing changes").click()
    admin.get_by_text("Reject by admin at").wait_for()

    place = f"{PAGES}/measurements/{run_id}"
    forced = {"answer": "Approve", "mrenclave": PROPOSED.mrenclave, "reviewed": "on"}
    for user, note, said in (
        ("viewer", "You may look at this and not answer it", "Airflow did not take the answer: Forbidden"),
        ("ann", "A second person has to approve", "Whoever requested an image may not approve it"),
    ):
        page = visit(user, place)
        page.get_by_text(note).wait_for()
        assert page.get_by_role("button", name="Approve").count() == 0
        status, text = send(page, place, **forced)
        assert (status, said in text) == (403, True)

    admin.goto(place)
    admin.get_by_label("MRENCLAVE of your own build").fill("09" * 32)
    admin.get_by_label("I have reviewed what differs").check()
    admin.get_by_role("button", name="Approve 070707070707…").click()
    admin.get_by_text("Your own build has measured").wait_for()
    admin.get_by_label("MRENCLAVE of your own build").fill(PROPOSED.mrenclave)
    admin.get_by_label("I have reviewed what differs").check()
    admin.get_by_role("button", name="Approve 070707070707…").click()
    admin.get_by_text("Approve by admin at").wait_for()

    ends = [live.wait_for_end(IMAGE_DAG, each) for each in (refused, rejected, run_id)]
    assert ends == ["failed", "failed", "success"]
    assert "approval-measurement-mismatch" in live.xcom(IMAGE_DAG, refused, ASK, "failure")
    [entry] = read_ledger(ledger).approvals
    assert (entry.requested_by, entry.approved_by, entry.rebuilt) == ("ann", "admin", True)
    assert (entry.mrenclave, entry.git_revision) == (PROPOSED.mrenclave, "0123456")
    admin.goto(f"{PAGES}/measurements")
    for said in ("chain verified now", "rebuilt by the approver", "Runs now on dcsv3."):
        admin.get_by_text(said).first.wait_for()
