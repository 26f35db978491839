"""The control room: what it says of months, index and runs, and to whom."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from confidential_spark.core.stages import TASK_IDS
from confidential_spark.hooks.index.entry import IndexEntry
from confidential_spark.hooks.index.index import FILE, Index, change_index, read_index
from confidential_spark.hooks.index.places import FolderIndex
from confidential_spark.ui.room import page as room

from tests.unit.ui.conftest import DAG_ID, KEY, REPORT, RUN_ID, START, SUMMARY, with_checks
from tests.unit.ui.measurements.conftest import announce, approve, image_deployment
from tests.unit.ui.test_app import Tags

__all__ = ["announce", "approve", "image_deployment"]

GREEN = dict.fromkeys(TASK_IDS, "success")
ELSEWHERE = {("spark.run_spark", "enclave_run"): {}}
ROOM = f"/room?dag_id={DAG_ID}"


@pytest.fixture(autouse=True)
def nothing_inline(monkeypatch, dag_run):
    """Leave all verifications to the test's word; and let Airflow know the DAG, by a run without a month."""
    monkeypatch.setattr(room, "INLINE_S", 0.0)
    dag_run("success", {}, run_id="known")


def cells(html: str) -> dict[str, str]:
    """Return what each month's cell says."""
    links = [attrs for tag, attrs in Tags(html).found if tag == "a" and "aria-label" in attrs]
    return {str(attrs["aria-label"])[:7]: str(attrs["aria-label"])[9:] for attrs in links}


def needs(html: str) -> str:
    return html.partition('id="needs-section"')[2].partition("</section>")[0]


def test_a_month_is_not_verified_until_this_server_has_verified_it(browse, publish, by_hand):
    publish(report=with_checks())
    viewer = browse()
    before = viewer.get(ROOM).text
    by_hand.work(rest=0)
    after = viewer.get(ROOM).text

    assert cells(before)["2018-05"].startswith("published, not verified yet, NOT VERIFIED YET")
    assert "1 not verified yet" in before
    assert cells(after)["2018-05"].startswith("passed, VERIFIED 13/13 at ")
    assert "SIMULATED, 9,974 rows" in cells(after)["2018-05"]


def test_a_result_that_is_not_in_the_index_is_found_and_put_into_it(browse, publish, by_hand, tmp_path):
    publish(report=with_checks("warn"))
    assert not (tmp_path / DAG_ID / FILE).exists()
    assert "2018-05" in cells(browse().get(ROOM).text)
    by_hand.work(rest=0)
    entry = read_index(FolderIndex(tmp_path, DAG_ID)).entries[KEY]
    assert (entry.version, entry.rows, entry.warned) == ("try-1", 9974, ("warn 0",))


FORGED = IndexEntry(
    version="try-1", trust="hardware", rows=987_654_321, figures={"totals.trips": 987_654_321}
)


@pytest.mark.parametrize(
    ("entries", "shown"),
    [
        pytest.param({KEY: FORGED}, "987,654,321", id="figures-and-trust"),
        pytest.param({"month=2018-06": IndexEntry(version="try-1")}, "2018-06", id="a-month-more"),
        pytest.param(
            {KEY: IndexEntry(version="try-2", rows=987_654_321)}, "987,654,321", id="another-version"
        ),
    ],
)
def test_an_altered_index_makes_no_claim_and_is_corrected(browse, publish, by_hand, tmp_path, entries, shown):
    publish(report=with_checks())
    file = FolderIndex(tmp_path, DAG_ID)
    change_index(file, lambda _: Index(dag_id=DAG_ID, entries=entries))
    viewer = browse()
    before = viewer.get(f"{ROOM}&shade=rows").text
    by_hand.work(rest=0)
    after = viewer.get(f"{ROOM}&shade=rows").text

    said = cells(before)["2018-05"]
    assert said.startswith("published, not verified yet")
    assert "HARDWARE" not in before.upper().replace("NOTHING ABOUT HARDWARE", "").replace(
        "CLAIMS HARDWARE, PROVES NOTHING", ""
    )
    assert list(cells(before)).count("2018-06") == 1
    assert cells(before)["2018-06"].startswith("missing")
    assert shown not in after.replace("2018-06", "" if shown == "2018-06" else "2018-06")
    assert cells(after)["2018-05"].endswith("SIMULATED, 9,974 rows")
    assert {key: entry.rows for key, entry in read_index(file).entries.items()} == {KEY: 9974}


@pytest.mark.parametrize("name", ["summary.json", "by_hour.parquet", "evidence.json"])
def test_tampering_shows_at_the_next_look(browse, publish, by_hand, name):
    version = publish(report=with_checks())
    viewer = browse()
    viewer.get(ROOM)
    by_hand.work(rest=0)
    assert cells(viewer.get(ROOM).text)["2018-05"].startswith("passed")
    (version / name).write_bytes((version / name).read_bytes() + b" x")

    changed = viewer.get(ROOM).text
    assert cells(changed)["2018-05"].startswith("published, not verified yet")
    by_hand.work(rest=0)
    refused = viewer.get(ROOM).text
    assert cells(refused)["2018-05"].startswith("refused, REFUSED ")
    assert "2018-05 refused" in needs(refused)
    assert "Treat it as an incident" in needs(refused)
    assert "9,974" not in refused


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        pytest.param(lambda path: path.unlink(), "policy-unreadable", id="removed"),
        pytest.param(lambda path: path.write_text("[<b>"), "policy-malformed", id="malformed"),
    ],
)
def test_without_its_policy_no_page_calls_anything_verified(
    browse, publish, by_hand, deployment, fault, code
):
    publish(key="month=2018-04", report=with_checks())
    publish(report=with_checks())
    fault(deployment / "policies" / "simulation.yaml")
    viewer = browse()
    viewer.get(ROOM)
    by_hand.work(rest=0)
    html = viewer.get(ROOM).text

    assert f"simulation.yaml: {code}" in needs(html)
    assert f"runbooks/{code}" in needs(html)
    assert "verified 0 of 2 published results" in html
    assert "no file has changed since" not in html
    assert f"NOT CHECKED {code}" in cells(html)["2018-05"]
    trends = viewer.get(f"/trends/{DAG_ID}").text
    assert trends.count("<circle") == trends.count('class="unverified"') > 0
    month = viewer.get(f"/results/{DAG_ID}/{KEY}").text
    assert f"Runbook for {code}" in month
    assert "Trips by hour" not in month, "a table that nothing vouches for is not read"
    assert "2 of these months are not verified" in month
    both = f"left={DAG_ID}/month=2018-04&right={DAG_ID}/{KEY}"
    assert "Not everything here is verified" in viewer.get(f"/compare?{both}").text


def test_a_broken_ledger_needs_somebody(browse, publish, image_deployment, announce):
    image_deployment.ledger.write_text('{"<b>": 1}\n')
    said = needs(browse().get(ROOM).text)
    assert f"{image_deployment.ledger.name}: ledger-malformed" in said
    assert "No run of dcsv3, aks is accepted" in said
    assert "runbooks/ledger-malformed" in said
    assert said.count("ledger-malformed") == 2


@pytest.mark.parametrize("target", [".versions/month=2018-06/gone", ".versions/month=2018-05/try-1", "/dev"])
def test_a_month_that_the_store_has_not_published_is_refused_by_name(
    browse, publish, by_hand, tmp_path, target
):
    publish(report=with_checks())
    (tmp_path / DAG_ID / "month=2018-06").symlink_to(target)
    viewer = browse()
    viewer.get(ROOM)
    by_hand.work(rest=0)
    html = viewer.get(ROOM).text
    assert cells(html)["2018-05"].startswith("passed")
    assert cells(html)["2018-06"].startswith("refused")
    assert "2018-06 refused" in needs(html)
    assert "REFUSED JUST NOW" in viewer.get(f"/results/{DAG_ID}/month=2018-06").text


def test_what_needs_somebody_stands_first(browse, publish, by_hand, dag_run):
    for month in ("2018-01", "2018-02", "2018-06"):
        publish(key=f"month={month}", report=with_checks())
    tasks = {**dict.fromkeys(TASK_IDS, "upstream_failed"), "spark.run_spark": "failed"}
    dag_run(
        "failed",
        tasks,
        run_id="manual__2018-09",
        conf={"month": "2018-09"},
        start_date=START,
        xcoms={**ELSEWHERE, ("spark.run_spark", "failure"): "[spark-failed] The job failed. · got: 1"},
    )
    dag_run(
        "running",
        {**GREEN, "validation.publish": "running"},
        run_id="manual__2018-10",
        conf={"month": "2018-10"},
        start_date=datetime.now(UTC) - timedelta(seconds=70),
    )
    dag_run("queued", {}, run_id="manual__2018-11", conf={"month": "2018-11"})
    browse().get(ROOM)
    by_hand.work(rest=0)
    html = browse().get(ROOM).text
    said = needs(html)

    assert "2018-09 failed" in said
    assert "spark-failed: spark.run_spark failed. Nothing was published." in said
    assert "runbooks/spark-failed" in said
    assert "2018-03..05 2018-07..09 2018-12.." in said
    assert f"gaps/{DAG_ID}?first=2018-03&amp;last=" in said
    assert cells(html)["2018-10"].startswith("running")
    assert cells(html)["2018-11"].startswith("queued")
    now = html.partition('id="now-section"')[2].partition("</section>")[0]
    assert "2018-10" in now
    assert "1 min 1" in now
    assert "queued #1" in now
    assert "3/" in html


@pytest.mark.parametrize("shade", ["proof", "rows", "warnings", "age", "duration", "../x", "<b>"])
def test_every_shade_can_be_asked_for(browse, publish, shade):
    publish(report=with_checks("warn"))
    publish(key="month=2018-06", summary={**SUMMARY, "rows": {"accepted": 5}}, report=with_checks())
    response = browse().get("/room", params={"dag_id": DAG_ID, "shade": shade})
    assert response.status_code == 200
    assert response.text.count('aria-current="true"') == 1
    assert "<b>" not in response.text


def test_first_since_2009_shows_every_gap(browse, publish):
    publish()
    html = browse().get(f"{ROOM}&first=2009-01").text
    assert cells(html)["2009-01"] == "missing"
    assert "Expected 2009-01 to" in html
    assert f"gaps/{DAG_ID}?first=2009-01&amp;last=" in html


def test_the_page_is_the_same_for_the_etag(browse, publish, by_hand):
    publish()
    viewer = browse()
    viewer.get(ROOM)
    by_hand.work(rest=0)
    first = viewer.get(ROOM)
    again = viewer.get(ROOM, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["Content-Security-Policy"] == first.headers["Content-Security-Policy"]
    publish(key="month=2018-06")
    assert viewer.get(ROOM, headers={"If-None-Match": first.headers["ETag"]}).status_code == 200


@pytest.mark.parametrize(
    ("role", "status"),
    [
        pytest.param(None, 401, id="stranger"),
        pytest.param("viewer", 200, id="viewer"),
        pytest.param("nobody", 404, id="nobody"),
    ],
)
def test_who_may_see_it(browse, publish, dag_run, role, status):
    publish()
    dag_run("success", GREEN)
    response = browse(role).get(ROOM)
    assert response.status_code == status
    assert ("2018-05" in response.text) is (status == 200)


@pytest.mark.parametrize("dag_id", ["", "enclave_image", "../../etc", "<script>alert(1)</script>", "x" * 250])
def test_other_names_are_no_dags_of_this_project(browse, publish, dag_id):
    publish()
    response = browse().get("/room", params={"dag_id": dag_id})
    assert response.status_code == (404 if dag_id else 200)
    assert "<script>alert" not in response.text


def test_markup_in_every_field_stays_text(browse, publish, by_hand, dag_run, tmp_path):
    attack = "<img src=x onerror=alert(1)>"
    checks = [{"name": attack, "severity": "warn", "passed": False, "got": attack, "expected": attack}]
    publish(report={**REPORT, "checks": checks, "trust": attack, "timings": {attack: 1}})
    entry = IndexEntry(version="try-1", trust=attack, warned=(attack,), run_id=attack, policy=attack)
    change_index(FolderIndex(tmp_path, DAG_ID), lambda _: Index(dag_id=DAG_ID, entries={KEY: entry}))
    dag_run(
        "failed",
        {"spark.run_spark": "failed"},
        run_id="odd",
        conf={"month": "2018-09"},
        xcoms={("spark.run_spark", "failure"): attack},
    )
    dag_run(
        "running",
        {"spark.run_spark": "running"},
        run_id="odder",
        conf={"month": attack},
        start_date=START,
    )
    viewer = browse()
    for _ in range(2):
        html = viewer.get(ROOM).text
        assert [tag for tag, _ in Tags(html).found if tag == "img"] == []
        by_hand.work(rest=0)


def test_platforms_and_questions(browse, publish, dag_run):
    publish()
    report = {
        "platform": "local",
        "ready": True,
        "trust": "simulated",
        "verdict": "local can run",
        "checked_at": "2026-11-29T06:00:00Z",
        "rows": [{"status": "OK"}],
    }
    broken = {
        **report,
        "platform": "aks",
        "ready": False,
        "verdict": "aks cannot run enclaves now: quota",
        "rows": [{"status": "FAIL"}],
    }
    dag_run(
        "success",
        {"check_local": "success", "check_aks": "failed"},
        dag_id="platform_check",
        run_id="scheduled__1",
        xcoms={("check_local", "platform_check"): report, ("check_aks", "platform_check"): broken},
    )
    html = browse().get(ROOM).text
    assert "ready, SIMULATED" in html
    assert "Platform aks is not ready" in needs(html)
    assert "aks cannot run enclaves now: quota" in needs(html)
    assert "DAG platform_check has left no report of it." in html


def test_an_index_that_is_no_index_changes_nothing(browse, publish, by_hand, tmp_path):
    publish(report=with_checks())
    (tmp_path / DAG_ID / FILE).write_text("[" * 10_000)
    assert cells(browse().get(ROOM).text)["2018-05"].startswith("published, not verified yet")
    by_hand.work(rest=0)
    assert (
        json.loads((tmp_path / DAG_ID / FILE).read_bytes())["entries"][KEY]["run_id"] == f"{DAG_ID}/{RUN_ID}"
    )


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        pytest.param(
            {"first": "2012-03", "last": "2013-11", "action": "gaps"},
            f"gaps/{DAG_ID}?first=2012-03&last=2013-11",
            id="gaps",
        ),
        pytest.param(
            {"first": "2013-11", "last": "2012-03"},
            f"gaps/{DAG_ID}?first=2012-03&last=2013-11",
            id="backwards",
        ),
        pytest.param(
            {"first": "2012-03", "last": "2012-03", "action": "audit"},
            f"audit/{DAG_ID}?first=2012-03&last=2012-03",
            id="audit",
        ),
    ],
)
def test_a_range_leads_to_what_is_done_with_it(browse, asked, place):
    answer = browse().get("/range", params={"dag_id": DAG_ID, **asked})
    assert (answer.status_code, answer.headers["location"]) == (303, place)


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"first": "2012-03", "last": "May"}, id="no-month"),
        pytest.param({"dag_id": "sparkpi_local", "first": "2012-03", "last": "2012-04"}, id="no-months"),
        pytest.param({"dag_id": "//evil.example", "first": "2012-03", "last": "2012-04"}, id="elsewhere"),
    ],
)
def test_anything_else_is_no_range(browse, asked):
    assert browse().get("/range", params={"dag_id": DAG_ID, **asked}).status_code == 404


def test_a_refused_month_leads_to_its_runbook(browse, publish, dag_run, by_hand):
    (publish() / "summary.json").write_text("{}")
    dag_run("success", GREEN)
    browse().get("/room", params={"dag_id": DAG_ID})
    by_hand.work(rest=0)
    room = browse().get("/room", params={"dag_id": DAG_ID}).text
    needs = room.partition('class="needs"')[2].partition("</ul>")[0]
    assert "REFUSED" not in needs, "it says refused once"
    assert 'href="runbooks/result-digest-mismatch"' in needs
    page = browse().get(f"/results/{DAG_ID}/{KEY}").text
    assert 'href="../../runbooks/result-digest-mismatch"' in page
    assert browse().get("/runbooks/result-digest-mismatch").status_code == 307


def test_strangers_are_led_nowhere(browse):
    asked = {"dag_id": DAG_ID, "first": "2012-03", "last": "2012-04"}
    assert browse(None).get("/range", params=asked).status_code == 401


def test_the_form_of_a_range_offers_every_month_of_the_matrix(browse, publish, dag_run):
    publish(key="month=2018-01", report=with_checks())
    publish(key="month=2018-05", report=with_checks())
    page = browse().get("/room", params={"dag_id": DAG_ID}).text
    form = page.partition("data-range")[2].partition("</form>")[0]
    assert form.count(">2018-05</option>") == 2
    assert "<option selected>2018-01</option>" in form
    assert form.count(" selected") == 2
    assert "2009-01" not in form
