from __future__ import annotations

import io
import json
import re
import zipfile
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
from confidential_spark.core.errors import ResultError
from confidential_spark.core.stages import TASK_IDS
from confidential_spark.ui import queries
from confidential_spark.ui.views.calendar_view import CellState
from confidential_spark.verification import Outcome

from tests.support.factories.bundles import make_bundle
from tests.support.places import ROOT
from tests.unit.ui.conftest import DAG_ID, KEY, REPORT, RUN_ID, START, SUMMARY, with_checks

GREEN = dict.fromkeys(TASK_IDS, "success")
RUN = f"/runs/{DAG_ID}/{RUN_ID}"
RESULT = f"/results/{DAG_ID}/{KEY}"
EVERY_ROUTE = ["/", "/style.css", "/page.js", RUN, RESULT, f"{RESULT}/evidence.json", f"{RESULT}/archive.zip"]
OF_ONE_DAG = [RUN, RESULT, f"{RESULT}/evidence.json", f"{RESULT}/archive.zip"]
CHECKS_LEFT = ("validation.check_results", "failed_checks")
VERIFICATION = ("validation.verify_evidence", "verification")
OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)
INTERVAL = {"logical_date": OCTOBER, "data_interval": (OCTOBER, START)}
SCRIPT = "<script>alert(1)</script>"


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("route", EVERY_ROUTE)
def test_strangers_get_401_everywhere(browse, publish, dag_run, route):
    publish()
    dag_run("success", GREEN)
    response = browse(None).get(route)

    assert response.status_code == 401
    assert KEY not in response.text


@pytest.mark.parametrize("route", ["/", RUN, f"{RESULT}?x=%3C", f"{RESULT}/evidence.json"])
def test_a_strangers_browser_is_led_to_the_login_page_and_back(browse, route):
    stranger = browse(None)
    answer = stranger.get(route, headers={"Sec-Fetch-Dest": "document"})
    assert answer.status_code == 303
    login = stranger.get(urljoin(str(answer.request.url), answer.headers["Location"]))
    assert login.status_code == 307
    (back,) = parse_qs(urlsplit(login.headers["Location"]).query)["next"]
    assert urlsplit(back).path == urlsplit(str(answer.request.url)).path
    assert urlsplit(back).query == urlsplit(route).query

    framed = stranger.get(route, headers={"Sec-Fetch-Dest": "iframe"})
    assert (framed.status_code, "You are not logged in." in framed.text) == (401, True)
    assert "auth/login?next=" in framed.text


@pytest.mark.parametrize("route", ["/gaps/nytaxi_local", "/audit/nytaxi_local", "/measurements/x"])
def test_a_strangers_form_is_answered_and_not_led_anywhere(browse, route):
    answer = browse(None).post(route, headers={"Sec-Fetch-Dest": "document"})
    assert (answer.status_code, "nothing was done" in answer.text) == (401, True)


@pytest.mark.parametrize(
    ("route", "status", "said"),
    [
        pytest.param("/nothing", 404, "There is no such page.", id="unknown"),
        pytest.param(f"/results/{DAG_ID}/{'k' * 301}", 422, "key: String should have", id="too-long"),
        pytest.param(f"/audit/{DAG_ID}?first={'%3Cb%3E' * 20}", 422, "first: String should", id="markup"),
        pytest.param("/gaps/nytaxi_local/20260101T000000Z/cancel", 405, "of a form", id="only-a-form"),
    ],
)
def test_an_unusable_address_is_a_page_with_ways_on(browse, route, status, said):
    answer = browse("admin").get(route)
    assert (answer.status_code, said in answer.text) == (status, True)
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "<b>" not in answer.text
    assert "plugin/control-room" in answer.text


class PublishedAway:
    """Results whose storage does not answer."""

    def keys(self, dag_id):
        raise ResultError("The storage did not answer.", code="results-unreachable", got="secret-place")

    def result(self, dag_id, key, version=""):
        return self.keys(dag_id)


@pytest.mark.parametrize("route", ["/", RUN, RESULT, f"{RESULT}/evidence.json", f"{RESULT}/archive.zip"])
def test_a_page_says_that_the_storage_of_the_results_is_away(browse, publish, dag_run, show, route):
    publish()
    dag_run("success", GREEN)
    show(PublishedAway())
    response = browse("viewer").get(route)

    assert response.status_code == 503
    assert "The storage did not answer. [results-unreachable]" in response.text
    assert "Load the page again" in response.text
    assert "when you may see their DAG" not in response.text
    assert "secret-place" not in response.text
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]


@pytest.mark.parametrize("route", OF_ONE_DAG)
def test_users_who_may_not_see_the_dag_get_403(browse, publish, dag_run, route):
    publish()
    dag_run("success", GREEN)
    response = browse("nobody").get(route)

    assert response.status_code == 403
    assert "UpToDate" not in response.text


def test_the_list_leaves_out_what_the_user_may_not_see(browse, publish, dag_run):
    publish()
    dag_run("success", GREEN)
    page = browse("nobody").get("/").text

    assert DAG_ID not in page
    assert RUN_ID not in page


@pytest.mark.parametrize("route", EVERY_ROUTE)
def test_viewers_may_see_everything_and_every_answer_is_locked_down(browse, publish, dag_run, route):
    publish()
    dag_run("success", GREEN)
    response = browse().get(route)

    assert response.status_code == 200
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert re.search(r"script-src ([^;]*)", policy).group(1) == "'self'"
    assert "frame-ancestors 'self'" in policy
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == "no-store"


def test_the_list_links_each_published_month_and_each_run(browse, publish, dag_run):
    publish()
    publish(key="month=2018-07", summary={**SUMMARY, "rows": {"accepted": 3}}, report=with_checks())
    dag_run("running", {"image.resolve_image": "running"})
    page = browse().get("/").text

    assert f'href="results/{DAG_ID}/month%3D2018-05"' in page
    assert re.search(
        r'aria-label="2018-07, passed, VERIFIED 13/13 at [0-9:]{8} UTC, SIMULATED, 3 rows"', page
    )
    assert 'aria-label="2018-06, missing"' in page
    run = "manual__2018-06-01T00%3A00%3A00%2B00%3A00"
    assert f'<a target="_top" href="../dags/{DAG_ID}/runs/{run}/plugin/enclave-report">' in page
    assert "RUNNING" in page


CELLS = {
    "passed": (with_checks(), None, None),
    "warned": (with_checks("warn"), None, None),
    "refused": (None, "failed", {"validation.verify_evidence": "failed"}),
    "failed": (None, "failed", {"spark.run_spark": "failed"}),
    "running": (None, "running", {"spark.run_spark": "running"}),
    "queued": (None, "queued", {}),
    "missing": (None, None, None),
}
WORDS = {"warned": "passed with warnings"}


@pytest.mark.parametrize("state", CELLS)
def test_seven_states_of_a_month_are_seven_cells_with_words(browse, publish, dag_run, state):
    report, run_state, tasks = CELLS[state]
    for month in ("2018-04", "2018-06"):
        publish(key=f"month={month}")
    if report:
        publish(report=report)
    dag_run("success", {}, run_id="april", conf={"month": "2018-04"})
    if run_state:
        dag_run(run_state, tasks, conf={"month": "2018-05"}, start_date=START)
    page = browse().get("/").text
    css, label, sign = re.search(
        r'<td class="([\w-]+) shade-\d">\s*<\w+[^>]* aria-label="(2018-05,[^"]*)">(.)</', page
    ).groups()

    assert css == state
    assert label.split(", ")[1] == WORDS.get(state, state)
    assert sign == CellState[state.upper()].sign


def test_a_year_without_results_between_others_has_a_row(browse, publish, dag_run):
    dag_run("success", {})
    publish(key="month=2016-05")
    publish(key="month=2018-05")

    assert '<tr><th scope="row">2017</th>' in browse().get("/").text


@pytest.mark.parametrize(
    ("claimed", "policy", "expected"),
    [
        pytest.param("hardware", "simulation", "1 refused", id="report-boasts"),
        pytest.param("simulated", "simulation", "1 SIMULATED", id="simulated"),
        pytest.param("hardware", "production", "1 refused", id="simulated-evidence-on-hardware"),
    ],
)
def test_the_list_says_what_each_result_proves_whatever_platform_and_report_say(
    browse, publish, dag_run, deploy, claimed, policy, expected
):
    dag_run("success", {}, dag_id="nytaxi_aks")
    deploy(aks_policy=policy)
    publish(dag_id="nytaxi_aks", report={**with_checks(), "trust": claimed})
    page = browse().get("/").text
    article = page[page.index("<h3>nytaxi_aks") :].partition("</h3>")[0]

    assert re.findall(r'class="tag \w+">([^<]*)<', article) == [expected]
    assert "1 hardware" not in page


def test_files_that_changed_since_are_refused_on_every_page(browse, publish, dag_run):
    folder, client = publish(report=with_checks()), browse()
    dag_run("success", GREEN)
    for route in (RUN, RESULT):
        page = client.get(route).text
        assert re.search(r'class="word" role="status">VERIFIED JUST NOW 13/13 \(\d+ ms\)<', page)
    assert "2018-05, passed" in client.get("/").text
    (folder / "summary.json").write_text(json.dumps({**SUMMARY, "rows": {"accepted": 666}}))

    for route in (RUN, RESULT):
        page = client.get(route).text
        assert 'class="word" role="status">REFUSED JUST NOW<' in page
        assert "result-digest-mismatch" in page
        assert "666" not in page
        assert "VERIFIED" not in page
    page = client.get("/").text
    assert '"2018-05, refused, REFUSED result-digest-mismatch, claims simulated, proves nothing"' in page
    assert "VERIFIED 13/13" not in page


def test_a_list_that_is_out_of_time_says_not_verified_yet_and_goes_on(browse, publish, dag_run, monkeypatch):
    dag_run("success", {})
    publish(report=with_checks())
    client = browse()
    monkeypatch.setattr(queries, "LIST_SECONDS", 0.0)
    page = client.get("/").text

    assert "2018-05, published, not verified yet, NOT VERIFIED YET, claims simulated, proves nothing" in page
    assert "1 not verified<" in page
    assert 'data-poll="' in page
    monkeypatch.setattr(queries, "LIST_SECONDS", 60.0)
    page = client.get("/").text
    assert "2018-05, passed" in page
    assert 'data-poll="' not in page
    monkeypatch.setattr(queries, "LIST_SECONDS", 0.0)
    assert "2018-05, passed" in client.get("/").text


def test_warnings_are_in_the_banner_and_in_the_list(browse, publish, dag_run):
    publish(report=with_checks("warn"))
    dag_run("success", GREEN, xcoms={CHECKS_LEFT: {"checks": with_checks("warn")["checks"][1:]}})
    client = browse()
    header = client.get(RUN).text.partition("</header>")[0]

    assert 'class="verdict warn"' in header
    assert "· 1 WARNING<" in header
    assert "warn 0: 2 months, expected 6 months" in header
    page = client.get("/").text
    assert '<span class="tag warn">PASSED · 1 WARNING</span>' in page
    assert "1 with warnings" in page


def test_a_rerun_shows_the_new_run_and_not_what_the_old_try_passed(browse, publish, dag_run):
    publish()
    left = {VERIFICATION: REPORT["verification"], CHECKS_LEFT: {"checks": REPORT["checks"]}}
    dag_run("running", {**dict.fromkeys(TASK_IDS, "waiting"), "image.resolve_image": "running"}, xcoms=left)
    page = browse().get(RUN).text

    assert 'role="status">RUNNING<' in page
    for old in ("PASS", "VERIFIED", "9,974", "recount", "Token header"):
        assert old not in page, old
    assert "What an earlier try of this run made is still published." in page
    assert f'href="../../results/{DAG_ID}/month%3D2018-05"' in page


@pytest.mark.parametrize("state", ["running", "queued"])
def test_a_result_whose_month_runs_again_says_so(browse, publish, dag_run, state):
    publish()
    task = {"image.resolve_image": "running" if state == "running" else "waiting"}
    dag_run(state, task, run_id="second", conf={"month": "2018-05"})
    page = browse().get(RESULT).text

    assert f"Newest run of this month: {state}. This result was made before it." in page
    assert f'target="_top" href="../../../dags/{DAG_ID}/runs/second/plugin/enclave-report"' in page


def test_a_run_that_is_published_before_it_ends_shows_it(browse, publish, dag_run):
    publish()
    dag_run("running", {**GREEN, "validation.clean_staging": "running"})
    page = browse().get(RUN).text

    assert 'role="status">RUNNING<' in page
    assert "VERIFIED JUST NOW 13/13" in page


def test_links_to_another_run_leave_airflows_frame(browse, publish, dag_run):
    publish(run_id="another")
    for run_id in (RUN_ID, "another"):
        dag_run("success", GREEN, run_id=run_id)
    client = browse()
    elsewhere = [
        attributes
        for route in ("/", RUN, RESULT)
        for tag, attributes in Tags(client.get(route).text).found
        if tag == "a" and re.search(r"/runs/|confidential-runs", attributes["href"])
    ]

    assert [a for a in elsewhere if "/runs/another/" in a["href"]]
    assert {a.get("target") for a in elsewhere} == {"_top"}


@pytest.mark.parametrize("route", [RUN, RESULT])
def test_links_of_a_page_lead_somewhere(browse, publish, dag_run, route):
    publish()
    dag_run("success", GREEN)
    client = browse()
    page = client.get(route)
    links = [a.get("href") for _, a in Tags(page.text).found if a.get("href")]

    assert len(links) >= 5
    for link in links:
        assert client.get(str(page.url.join(link))).status_code == 200, link


def test_a_green_run_shows_verdict_stages_steps_checks_figures_and_the_command(browse, publish, dag_run):
    publish()
    dag_run("success", GREEN)
    page = browse().get(RUN).text

    for text in (
        *("VERIFIED JUST NOW", "SIMULATED", "synthetic", "image", "attestation", "validation"),
        *("resolve_input", "Token header", "RS256", "recount", "9,974", "$167,118.01", "UpToDate"),
        f"{KEY}/evidence.json --policy ",
        "include/policies/simulation.yaml",
    ):
        assert text in page, text
    assert "alg-not-rs256" not in page  # what the report beside the files says of the verification
    assert page.count("<rect") == 24 + 2 + len(TASK_IDS)
    assert 'data-poll="' not in page


def test_a_running_run_refreshes_itself_and_shows_no_result(browse, publish, dag_run):
    publish()
    dag_run("running", {"image.resolve_image": "success", "spark.run_spark": "running"})
    page = browse().get(RUN).text

    assert "RUNNING" in page
    assert 'data-poll="' in page


def test_a_run_whose_month_was_replaced_shows_no_foreign_result(browse, publish, dag_run):
    publish(run_id="another-run")
    dag_run("success", GREEN)
    page = browse().get(RUN).text

    assert "9,974" not in page
    assert "VERIFIED" not in page
    assert "What is published now is of another run." in page


def test_a_refused_run_shows_which_step_refused_it(browse, dag_run):
    handed_on = {("validation.verify_evidence", "verification"): REPORT["verification"]}
    after = {"validation.check_results": "upstream_failed", "validation.publish": "upstream_failed"}
    dag_run("failed", {**GREEN, "validation.verify_evidence": "failed", **after}, xcoms=handed_on)
    page = browse().get(RUN).text

    assert "REFUSED" in page
    assert "alg-not-rs256" in page
    assert page.count("othing was published") == 1
    assert "another run" not in page


REASON = "[input-missing] There is no input. · got: nothing · expected: <b>files</b> · do: check the location"
BEFORE_SPARK = {"image.resolve_image": "success", "spark.resolve_input": "failed"}


def test_a_failed_run_shows_its_month_the_reason_and_the_runbook(browse, dag_run):
    states = {
        **BEFORE_SPARK,
        "validation.publish": "upstream_failed",
        "validation.clean_staging": "success",
    }
    dag_run("failed", states, conf={"month": "2018-05"}, xcoms={("spark.resolve_input", "failure"): REASON})
    page = browse().get(RUN).text

    assert f"<h1>{DAG_ID} · 2018-05</h1>" in page
    for name, part in (
        ("got", "nothing"),
        ("expected", "&lt;b&gt;files&lt;/b&gt;"),
        ("do", "check the location"),
    ):
        assert f"<dt>{name}</dt><dd>{part}</dd>" in page
    assert 'href="../../runbooks/input-missing"' in page
    assert "<p>not reached</p>" in page


def test_a_run_on_another_machine_names_its_container_or_pod(browse, dag_run):
    commands = ["kubectl logs driver", "kubectl get pods --selector '<b>'"]
    place = {"kind": "pod", "name": "driver", "where": "namespace n", "commands": commands}
    dag_run("running", {"spark.run_spark": "running"}, xcoms={("spark.run_spark", "enclave_place"): place})
    page = browse().get(RUN).text

    assert '<h2 id="place">Where the enclave runs</h2>' in page
    assert "Pod <code>driver</code>, namespace n." in page
    assert "<code data-copy>kubectl logs driver</code>" in page
    assert "--selector &#39;&lt;b&gt;&#39;</code>" in page


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(None, id="nothing"),
        pytest.param("text", id="text"),
        pytest.param({"commands": "ls"}, id="neither-kind-nor-name"),
        pytest.param({"kind": "", "name": "x", "where": 5, "commands": 7}, id="no-kind"),
    ],
)
def test_without_a_place_nothing_is_said_of_one(browse, dag_run, place):
    dag_run("running", {"spark.run_spark": "running"}, xcoms={("spark.run_spark", "enclave_place"): place})
    assert "Where the enclave runs" not in browse().get(RUN).text


@pytest.mark.parametrize("left", [None, {"not": "text"}, 5], ids=["nothing", "object", "number"])
def test_a_failed_task_that_left_no_reason_still_has_a_runbook(browse, dag_run, left):
    dag_run("failed", BEFORE_SPARK, xcoms={("spark.resolve_input", "failure"): left})
    page = browse().get(RUN).text

    assert 'class="reason"' not in page
    assert 'href="../../runbooks/spark.resolve_input"' in page


@pytest.mark.parametrize(
    ("dag_id", "columns", "name"),
    [
        pytest.param(DAG_ID, {"conf": {"month": "2018-05"}}, "2018-05", id="asked-for"),
        pytest.param(DAG_ID, {**INTERVAL}, "2026-10", id="data-interval"),
        pytest.param(
            DAG_ID,
            {"conf": {"month": "2018-05"}, **INTERVAL},
            "2018-05",
            id="asked-for-wins",
        ),
        pytest.param(DAG_ID, {"conf": {"month": "2018-13"}}, "–", id="not-a-month"),
        pytest.param(DAG_ID, {"conf": {"month": [1]}}, "–", id="not-text"),
        pytest.param(DAG_ID, {}, "–", id="neither"),
        pytest.param("sparkpi_local", {**INTERVAL}, "–", id="job-without-months"),
    ],
)
def test_a_run_without_a_result_is_listed_under_its_month(browse, dag_run, dag_id, columns, name):
    dag_run("failed", BEFORE_SPARK, dag_id=dag_id, **columns)
    page = browse().get("/").text

    assert re.search(rf'<td>{dag_id}</td>\s*<td class="name">(.*)</td>', page).group(1) == name


def test_last_runs_are_ordered_by_start_and_waiting_ones_by_when_they_may_start(browse, dag_run):
    for hours, run_id in ((1, "first"), (3, "third"), (2, "second")):
        # A run for an old interval that started late, and the other way round.
        run_after, started = START - timedelta(days=hours), START + timedelta(hours=hours)
        dag_run("failed", BEFORE_SPARK, run_id=run_id, run_after=run_after, start_date=started)
    dag_run("queued", {}, run_id="waiting", run_after=START + timedelta(minutes=90))
    page = browse().get("/").text

    assert re.findall(r">(\w+)</a></th>", page) == ["third", "second", "waiting", "first"]


@pytest.mark.parametrize("state", ["running", "failed"])
def test_a_hardware_platform_alone_proves_nothing(browse, dag_run, state):
    dag_run(state, {"image.resolve_image": "success"}, dag_id="nytaxi_aks")
    page = browse().get(f"/runs/nytaxi_aks/{RUN_ID}").text

    assert "NOTHING PROVEN" in page
    assert "HARDWARE" not in page


def test_the_result_page_does_without_the_run(browse, publish):
    publish()
    page = browse().get(RESULT).text

    assert "VERIFIED JUST NOW 13/13" in page
    assert "SIMULATED" in page


def test_downloads_are_the_published_bytes(browse, publish):
    folder = publish()
    response = browse().get(f"{RESULT}/evidence.json")

    assert response.content == (folder / "evidence.json").read_bytes()
    assert response.headers["content-disposition"] == (
        'attachment; filename="nytaxi_local-month-2018-05-evidence.json"'
    )


def test_the_archive_unpacks_to_a_folder_whose_results_are_what_the_evidence_lists(browse, publish, tmp_path):
    folder = publish()
    (folder / "secret.json").write_text("not signed")
    response = browse().get(f"{RESULT}/archive.zip")
    with zipfile.ZipFile(io.BytesIO(response.content)) as file:
        file.extractall(tmp_path / "unpacked")
    unpacked = tmp_path / "unpacked" / "nytaxi_local-2018-05"
    assert (unpacked / "report.json").read_bytes() == (folder / "report.json").read_bytes()
    evidence = (unpacked / "evidence.json").read_bytes()
    report = make_bundle().verify(
        evidence=evidence, results=unpacked, expected_run_id=f"{DAG_ID}/{RUN_ID}", expected_job=None
    )

    assert report.outcome is Outcome.VERIFIED, report.text()
    assert response.headers["content-disposition"] == 'attachment; filename="nytaxi_local-2018-05.zip"'


def test_all_downloads_of_a_page_are_of_the_version_it_shows(browse, publish):
    folder, client = publish(), browse()
    page = client.get(RESULT)
    newer = publish(attempt="try-2", summary={**SUMMARY, "totals": {"trips": 3}})
    links = [a["href"] for _, a in Tags(page.text).found if "download" in a]
    single = [link for link in links if "archive.zip" not in link]

    assert len(single) == len(links) - 1 == 3
    for link in single:
        name = link.partition("?")[0].rpartition("/")[2]
        assert client.get(str(page.url.join(link))).content == (folder / name).read_bytes()
    (archive,) = set(links) - set(single)
    with zipfile.ZipFile(io.BytesIO(client.get(str(page.url.join(archive))).content)) as file:
        assert file.read("nytaxi_local-2018-05/summary.json") == (folder / "summary.json").read_bytes()
    assert client.get(f"{RESULT}/summary.json").content == (newer / "summary.json").read_bytes()


@pytest.mark.parametrize("name", ["summary.json", "archive.zip"])
def test_a_version_that_was_removed_says_to_load_the_page_again(browse, publish, name):
    publish()
    response = browse().get(f"{RESULT}/{name}?version=try-0")

    assert response.status_code == 404
    assert "load its page again" in response.text


def test_an_incomplete_result_has_no_archive(browse, publish):
    (publish() / "by_hour.parquet").unlink()
    response = browse().get(f"{RESULT}/archive.zip")

    assert response.status_code == 404
    assert "a signed file is missing" in response.text


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/results/%2e%2e/month=2018-05/archive.zip", id="archive-of-a-parent"),
        pytest.param(f"/results/{DAG_ID}/{KEY}/summary.json?version=..", id="parent-as-version"),
        pytest.param(f"/results/{DAG_ID}/{KEY}/summary.json?version=try-1%2f..", id="path-as-version"),
        pytest.param(f"/results/{DAG_ID}/month=..%2f/archive.zip", id="archive-of-dots"),
        pytest.param(f"/results/{DAG_ID}/{KEY}/by_hour.parquet", id="not-a-download"),
        pytest.param(f"/results/{DAG_ID}/{KEY}/secret.json", id="a-file-beside-them"),
        pytest.param(f"/results/{DAG_ID}/{KEY}/..%2Fsecret.json", id="dots-in-the-name"),
        pytest.param(f"/results/{DAG_ID}/{KEY}/%2e%2e%2f%2e%2e%2fsecret.json", id="encoded-dots"),
        pytest.param(f"/results/{DAG_ID}/.versions", id="hidden-folder"),
        pytest.param(f"/results/{DAG_ID}/..", id="parent-as-key"),
        pytest.param(f"/results/{DAG_ID}/month=..", id="dots-in-the-month"),
        pytest.param("/results/../secret.json", id="parent-as-dag"),
        pytest.param("/results/%2e%2e/month=2018-05/evidence.json", id="encoded-parent-as-dag"),
        pytest.param(f"/results/outsider/{KEY}", id="not-one-of-our-dags"),
        pytest.param("/runs/outsider/x", id="run-of-another-dag"),
        pytest.param(f"/runs/{DAG_ID}/no-such-run", id="no-such-run"),
        pytest.param("/docs", id="no-api-docs"),
        pytest.param("/openapi.json", id="no-openapi"),
        pytest.param(f"/results/{DAG_ID}/month=1999-01/evidence.json", id="nothing-published"),
    ],
)
def test_nothing_but_what_is_published_can_be_reached(browse, publish, tmp_path, path):
    folder = publish()
    publish(dag_id="outsider")
    for place in (tmp_path, folder, folder.parent, tmp_path / DAG_ID):
        (place / "secret.json").write_text(json.dumps({"secret": "do not show"}))
    response = browse("admin").get(path)

    assert response.status_code in (404, 307)
    assert "do not show" not in response.text


def test_names_from_files_and_urls_are_text_not_markup(browse, publish, dag_run):
    hostile = json.loads(json.dumps(REPORT).replace("Token header", SCRIPT.replace('"', "")))
    hostile["trust"] = "simulated"
    hostile["checks"][2].update(name=SCRIPT, got=SCRIPT)
    publish(report=hostile)
    dag_run("success", GREEN)
    client = browse()

    for page in (client.get(RUN).text, client.get(RESULT).text, client.get(f"/runs/{DAG_ID}/{SCRIPT}").text):
        assert SCRIPT not in page
        assert [tag for tag, _ in Tags(page).found].count("script") == page.count("page.js") <= 1
        assert not [a for _, attributes in Tags(page).found for a in attributes if a.startswith("on")]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"trust":',
        b"[" * 100_000,
        b'{"rows": "x", "totals": [], "checks": 5}',
    ],
    ids=["empty", "list", "null", "not-utf8", "truncated", "deep", "wrong-types"],
)
@pytest.mark.parametrize("name", ["report.json", "summary.json", "by_hour.parquet"])
def test_an_unreadable_file_leaves_out_its_part_of_the_page(browse, publish, dag_run, name, content):
    folder = publish()
    (folder / name).write_bytes(content)
    dag_run("success", GREEN)
    client = browse()

    assert [client.get(route).status_code for route in ("/", RUN, RESULT)] == [200, 200, 200]


def test_pages_load_nothing_from_elsewhere_and_run_no_script_but_ours(browse, publish, dag_run):
    publish()
    dag_run("success", GREEN)
    client = browse()

    for route in ("/", RUN, RESULT):
        for tag, attributes in Tags(client.get(route).text).found:
            assert tag not in {"iframe", "object", "embed", "img"}
            assert tag != "script" or re.fullmatch(r"(\.\./)*page\.js", attributes["src"])
            assert "style" not in attributes, (tag, attributes)  # the policy would block it
            for name in ("href", "src"):
                assert not re.match(r"^(https?:)?/", attributes.get(name) or "")


def test_templates_say_nothing_is_safe():
    templates = list((ROOT / "plugins/confidential_spark/ui/templates").rglob("*.html"))
    assert templates
    for template in templates:
        assert "safe" not in re.findall(r"\|\s*(\w+)", template.read_text(encoding="utf-8")), template.name
