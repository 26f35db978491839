"""The page Audit: a verdict for every month now, verified anew on request, and one bundle of it."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from collections import deque
from contextlib import contextmanager
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from confidential_spark.audit.archive import read_members
from confidential_spark.audit.contents import ArchiveContents, faults, read_manifest
from confidential_spark.cli.main import main
from confidential_spark.hooks.results.folder_store import FolderStore
from confidential_spark.ui.audit import routes
from confidential_spark.ui.audit.rechecks import Rechecks
from confidential_spark.ui.results.live_verification import KEPT

from tests.support.published_range import month_files
from tests.support.published_range import publish as publish_files
from tests.unit.ui.conftest import DAG_ID, with_checks

HOST = "testserver"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
HERE = {**FORM, "Origin": f"http://{HOST}"}
SPAN = {"first": "2018-04", "last": "2018-07"}
PAGE = f"/audit/{DAG_ID}?{urlencode(SPAN)}"
BUNDLE = f"/audit/{DAG_ID}/bundle.zip?{urlencode(SPAN)}"
STEM = f"audit-{DAG_ID}-2018-04-to-2018-07"


class RechecksByHand(Rechecks):
    """Verifies when a test says so."""

    def __init__(self):
        super().__init__()
        self.waiting = deque()

    def start(self, work):
        self.waiting.append(work)

    def work(self):
        self.waiting.popleft()()


@pytest.fixture
def restart(browse, no_requests):
    """Let another server answer: it remembers nothing, and verifies ranges at a test's word."""
    from airflow.plugins_manager import get_fastapi_plugins

    (app,) = (entry["app"].app for entry in get_fastapi_plugins()[0] if entry["name"] == "Confidential Spark")

    def restart(by_hand=None):
        by_hand = by_hand or RechecksByHand()
        app.dependency_overrides[routes.rechecks] = lambda: by_hand
        return by_hand

    return restart


@pytest.fixture
def again(restart):
    """What verifies ranges anew, at a test's word."""
    return restart()


@pytest.fixture
def months(publish, again, dag_run, by_hand, browse):
    """Two good months, one that was tampered with, one whose run failed; all verified once."""
    for month in ("2018-04", "2018-05"):
        publish(key=f"month={month}", report=with_checks())
    version = publish(key="month=2018-06", report=with_checks())
    (version / "summary.json").write_text("{}")
    failed = {"spark.run_spark": "failed"}
    dag_run("failed", failed, run_id="bad", conf={"month": "2018-07"}, xcoms={})
    browse("user").get(PAGE)
    by_hand.work(rest=0)


def words(html):
    """Return month → verdict, as the table says."""
    rows = re.findall(r"<tr><td><span[^>]*>([^<]*)</span></td><th scope=\"row\">(.*?)</th>", html)
    return {re.sub(r"<[^>]*>", "", month): word for word, month in rows}


def test_every_month_has_its_verdict_now(browse, months):
    answer = browse("viewer").get(PAGE)
    assert answer.status_code == 200
    verdicts = {"2018-04": "VERIFIED", "2018-05": "VERIFIED", "2018-06": "REFUSED", "2018-07": "MISSING"}
    assert words(answer.text) == verdicts
    assert "step 12, result-digest-mismatch" in answer.text
    assert "spark.run_spark failed" in answer.text
    for count in ("2 VERIFIED", "1 REFUSED", "1 MISSING"):
        assert count in answer.text
    assert "<strong>SIMULATED</strong>" in answer.text
    assert f'href="../results/{DAG_ID}/month%3D2018-05"' in answer.text
    assert 'data-poll="5"' in answer.text


@pytest.mark.parametrize(
    ("state", "tasks", "said"),
    [
        pytest.param("running", {"spark.run_spark": "running"}, "a run is running", id="running"),
        pytest.param("queued", {}, "a run is queued", id="queued"),
    ],
)
def test_a_month_at_work_is_missing_until_it_is_published(
    browse, again, dag_run, deployment, state, tasks, said
):
    dag_run(state, tasks, run_id="now", conf={"month": "2018-05"}, xcoms={})
    html = browse("viewer").get(PAGE).text
    assert words(html)["2018-05"] == "MISSING"
    assert f"<td>{said}</td>" in html


def test_without_a_range_it_begins_with_what_is_known(browse, months):
    html = browse("viewer").get(f"/audit/{DAG_ID}").text
    assert f"Audit of {DAG_ID}, 2018-04 to 20" in html
    assert list(words(html))[:2] == ["2018-04", "2018-05"]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(f"/room?dag_id={DAG_ID}", id="control-room"),
        pytest.param(f"/results/{DAG_ID}/month%3D2018-05", id="month"),
    ],
)
def test_other_pages_lead_here(browse, months, page):
    user = browse("viewer")
    places = re.findall(rf'href="((?:\.\./)*audit/{DAG_ID}[^"]*)"', user.get(page).text)
    answers = [user.get("/" + place.replace("../", "").replace("&amp;", "&")) for place in places]
    assert [(each.status_code, words(each.text)["2018-05"]) for each in answers] == [(200, "VERIFIED")] * 2


def post(user, headers=HERE, **fields):
    return user.post(f"/audit/{DAG_ID}", content=urlencode({**SPAN, **fields}), headers=headers)


class TestRecheck:
    def test_verifies_the_range_anew_and_shows_how_far_it_is(self, browse, months, again):
        user = browse("viewer")
        before = verdict_times(user)
        answer = post(user)
        assert (answer.status_code, answer.headers["location"]) == (
            303,
            f"{DAG_ID}?first=2018-04&last=2018-07",
        )
        html = user.get(PAGE).text
        assert "Verifying anew: 0 of 3 published months of 2018-04 to 2018-07" in html
        assert '<progress value="0" max="3"' in html
        assert 'data-poll="2"' in html
        assert "Re-verify" not in html
        again.work()
        html = user.get(PAGE).text
        assert "3 of 3 published months of 2018-04 to 2018-07" in html
        assert 'data-poll="5"' in html
        assert "Re-verify 3 published months" in html
        assert words(html)["2018-06"] == "REFUSED"
        after = verdict_times(user)
        assert all(after[key] > before[key] for key in before)

    def test_a_change_that_leaves_no_trace_is_found(self, browse, months, again, tmp_path, monkeypatch):
        """Files that are read anew, and not only looked at: their state is what it was."""
        user = browse("viewer")
        monkeypatch.setattr("confidential_spark.ui.results.live_verification.state_of", lambda folder: ())
        post(user)
        again.work()
        assert words(user.get(PAGE).text)["2018-05"] == "VERIFIED"
        (tmp_path / DAG_ID / ".versions" / "month=2018-05" / "try-1" / "summary.json").write_text("{}")
        assert words(user.get(PAGE).text)["2018-05"] == "VERIFIED"
        post(user)
        again.work()
        assert words(user.get(PAGE).text)["2018-05"] == "REFUSED"

    def test_who_asked_is_in_airflows_audit_log(self, browse, months, again):
        from airflow.models.log import Log
        from airflow.utils.session import create_session
        from confidential_spark.ui.audit.requests import EVENT
        from sqlalchemy import select

        post(browse("viewer"))
        columns = (Log.dag_id, Log.owner, Log.extra)
        with create_session() as session:
            rows = session.execute(select(*columns).where(Log.event == EVENT)).all()
        assert rows == [(DAG_ID, "viewer", '{"first": "2018-04", "last": "2018-07"}')]

    def test_a_restart_in_the_middle_leaves_no_progress_that_stands_still(
        self, browse, months, again, restart
    ):
        user = browse("viewer")
        post(user)
        assert "Verifying anew: 0 of 3" in user.get(PAGE).text
        restarted = restart()
        assert "Verifying anew: 0 of 3" in user.get(PAGE).text
        restarted.work()
        html = user.get(PAGE).text
        assert "Verified anew at" in html
        assert "as viewer asked at" in html
        assert not restarted.waiting

    def test_a_server_begins_for_a_request_of_the_last_hour_only(
        self, browse, months, again, restart, monkeypatch
    ):
        user = browse("viewer")
        post(user)
        again.work()
        monkeypatch.setattr("confidential_spark.ui.audit.requests.FOLLOWED", timedelta(0))
        assert "Verified anew at" in user.get(PAGE).text
        restarted = restart()
        html = user.get(PAGE).text
        assert "Verified anew" not in html
        assert "Re-verify 3 published months" in html
        assert not restarted.waiting

    def test_a_request_that_another_server_took_meanwhile_is_next(self, browse, months, again, restart):
        user = browse("viewer")
        post(user)
        restart()
        assert post(user, last="2018-05").status_code == 303
        restart(again)
        assert "0 of 3 published months of 2018-04 to 2018-07" in user.get(PAGE).text
        again.work()
        assert "0 of 2 published months of 2018-04 to 2018-05" in user.get(PAGE).text
        again.work()
        assert "2 of 2 published months of 2018-04 to 2018-05" in user.get(PAGE).text
        assert not again.waiting

    def test_of_a_dag_one_range_at_a_time(self, browse, months, again):
        user = browse("viewer")
        assert post(user).status_code == 303
        assert post(user).status_code == 409
        again.work()
        assert post(user).status_code == 303

    def test_what_cannot_be_read_ends_nothing(self, browse, months, again, monkeypatch):
        from confidential_spark.core.errors import ResultError
        from confidential_spark.ui.results.published import Published

        def provide(self, dag_id, result):
            if result.key == "month=2018-04":
                raise ResultError("away", code="results-unreachable")

        user = browse("viewer")
        post(user)
        monkeypatch.setattr(Published, "provide", provide)
        again.work()
        html = user.get(PAGE).text
        assert "Could not be read: month=2018-04." in html
        assert "3 of 3 published months" in html

    @pytest.mark.parametrize(
        "origin",
        [
            pytest.param({}, id="absent"),
            pytest.param({"Origin": "null"}, id="null"),
            pytest.param({"Origin": "https://evil.example"}, id="another-site"),
            pytest.param({"Origin": f"http://{HOST}.evil.example"}, id="a-longer-name"),
        ],
    )
    def test_another_sites_form_does_nothing(self, browse, months, again, origin):
        answer = post(browse("viewer"), headers={**FORM, **origin})
        assert (answer.status_code, len(again.waiting)) == (403, 0)

    @pytest.mark.parametrize(
        ("fields", "status"),
        [
            pytest.param({"first": "2018-13"}, 400, id="no-month"),
            pytest.param({"first": "2018-08"}, 400, id="the-wrong-way-round"),
            pytest.param({"last": "<script>alert(1)</script>"}, 400, id="markup"),
            pytest.param({"last": ""}, 400, id="empty"),
        ],
    )
    def test_what_is_no_range_starts_nothing(self, browse, months, again, fields, status):
        answer = post(browse("viewer"), **fields)
        assert (answer.status_code, len(again.waiting)) == (status, 0)
        assert "<script>" not in answer.text


SERVER = """
import json, sys
from airflow.api_fastapi.app import create_app, get_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from fastapi.testclient import TestClient
app = create_app(apps="core")
token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="other", role="VIEWER"))
headers = {"Authorization": f"Bearer {token}"}
client = TestClient(app, base_url="http://testserver/confidential-spark", headers=headers)
for line in sys.stdin:
    print("PAGE", json.dumps(client.get(line.strip()).text), flush=True)
"""


@contextmanager
def another_server(results):
    """Yield a function that loads a page from an API server of its own process."""
    variables = {**os.environ, "CONFIDENTIAL_SPARK_RESULTS_DIR": str(results)}
    command = [sys.executable, "-c", SERVER]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=variables, **pipes) as process:

        def load(place):
            process.stdin.write(f"{place}\n")
            process.stdin.flush()
            for line in process.stdout:
                if line.startswith("PAGE "):
                    return json.loads(line.removeprefix("PAGE "))
            raise AssertionError(f"the server ended with {process.wait()}")

        yield load
        process.stdin.close()


def test_every_server_verifies_what_one_was_asked(browse, months, again, tmp_path):
    """Two processes that share the results and Airflow's database; the second is asked nothing itself."""
    user = browse("viewer")
    with another_server(tmp_path) as load:
        assert "anew" not in load(PAGE)
        post(user)
        html = load(PAGE)
        assert "erifying anew" in html or "Verified anew" in html
        assert "as viewer asked at" in html
        while "Verified anew at" not in html:
            html = load(PAGE)
        assert "3 of 3 published months of 2018-04 to 2018-07" in html
        assert words(html)["2018-06"] == "REFUSED"
    assert "Verifying anew: 0 of 3" in user.get(PAGE).text


def verdict_times(user):
    found = re.findall(r">(2018-[0-9]{2})</a></th>\s*<td>[^<]*?([0-9:]{8}) UTC", user.get(PAGE).text)
    latest = {path.parent.name: judgement.checked_at for (path, *_), (_, judgement) in KEPT._kept.items()}
    assert len(found) == 3
    return {f"month={month}": latest[f"month={month}"] for month, _ in found}


class TestBundle:
    def test_is_what_the_command_makes_and_verifies(self, browse, months, deployment, tmp_path, capsys):
        answer = browse("viewer").get(BUNDLE)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/zip"
        assert answer.headers["content-disposition"] == f'attachment; filename="{STEM}.zip"'
        assert int(answer.headers["content-length"]) == len(answer.content)
        (tmp_path / "b.zip").write_bytes(answer.content)
        policy = str(deployment / "policies" / "simulation.yaml")
        assert main(["audit", "verify", str(tmp_path / "b.zip"), "--policy", policy]) == 1
        said = capsys.readouterr().out
        assert "2 of 4 months VERIFIED · 1 REFUSED (2018-06) · 1 MISSING (2018-07)" in said
        assert "2018-07  MISSING     the bundle says: MISSING last-run-failed" in said

    def test_is_the_same_each_time(self, browse, months):
        user = browse("viewer")
        assert user.get(BUNDLE).content == user.get(BUNDLE).content

    def test_has_no_fault(self, browse, months):
        file = io.BytesIO(browse("viewer").get(BUNDLE).content)
        assert read_members(file)
        contents = ArchiveContents(file)
        manifest, data = read_manifest(contents)
        assert faults(contents, manifest, data) == []
        assert {month: entry.found for month, entry in manifest.months.items()} == {
            "2018-04": "VERIFIED",
            "2018-05": "VERIFIED",
            "2018-06": "REFUSED",
            "2018-07": "MISSING",
        }

    def test_a_credential_ends_it_by_name_and_without_the_value(self, browse, months, publish):
        report = {**with_checks(), "inputs": {"uri": "https://a.example/c?sp=r&sig=c2VjcmV0"}}
        publish(key="month=2018-07", report=report)
        answer = browse("viewer").get(BUNDLE)
        assert (answer.status_code, "audit-credential" in answer.text) == (409, True)
        assert "c2VjcmV0" not in answer.text

    @pytest.mark.parametrize(
        "query", ["first=2018-07&last=2018-04", "first=2018-05&last=2018-04"], ids=["far", "near"]
    )
    def test_what_is_no_range_has_none(self, browse, months, query):
        answer = browse("viewer").get(f"/audit/{DAG_ID}/bundle.zip?{query}")
        assert (answer.status_code, "audit-range" in answer.text) == (409, True)

    def test_one_is_made_at_a_time(self, browse, months):
        with routes.MAKING:
            assert browse("viewer").get(BUNDLE).status_code == 429
        assert browse("viewer").get(BUNDLE).status_code == 200


class TestRights:
    @pytest.mark.parametrize(("role", "status"), [("nobody", 403), (None, 401)])
    def test_who_may_not_see_the_runs_sees_and_starts_nothing(self, browse, months, again, role, status):
        user = browse(role)
        assert user.get(PAGE).status_code == status
        assert user.get(BUNDLE).status_code == status
        assert post(user).status_code == status
        assert len(again.waiting) == 0

    @pytest.mark.parametrize("name", ["sparkpi_local", "enclave_image", "no", "..%2f..", "%3Cscript%3E"])
    @pytest.mark.parametrize("place", ["", "/bundle.zip"])
    def test_other_dags_have_no_page(self, browse, months, again, name, place):
        user = browse("admin")
        answer = user.get(f"/audit/{name}{place}")
        assert answer.status_code == 404
        assert "<script>" not in answer.text
        assert user.post(f"/audit/{name}", content=urlencode(SPAN), headers=HERE).status_code == 404
        assert len(again.waiting) == 0


@pytest.mark.parametrize(
    "query",
    [
        "first=%3Cscript%3E&last=2018-07",
        "first=%22%3E%3Cimg+src%3Dx%3E",
        f"first={'x' * 41}",
        "first=2018-07&last=2018-04",
        "first=2099-12&last=2009-01",
    ],
)
def test_odd_ranges_are_no_trouble(browse, months, query):
    answer = browse("viewer").get(f"/audit/{DAG_ID}?{query}")
    assert answer.status_code in (200, 422)
    if answer.status_code == 200:
        assert "<script>" not in answer.text.replace('<script src="../page.js"></script>', "")
        assert "<img" not in answer.text


def test_what_results_say_is_text(browse, deployment, again, by_hand, tmp_path):
    """Markup in everything that a publisher can write."""
    evil = "<img src=x onerror=alert(1)>"
    files = month_files("2018-05", run_id=f"run {evil}", **{evil: b"x"})
    version = publish_files(FolderStore(tmp_path, DAG_ID), "2018-05", files).location
    (version / evil).write_text("y")
    user = browse("viewer")
    user.get(PAGE)
    by_hand.work(rest=0)
    html = user.get(PAGE).text
    assert "The file &lt;img src=x" in html
    assert words(html)["2018-05"] == "REFUSED"
    assert "<img" not in html
    with zipfile.ZipFile(io.BytesIO(user.get(BUNDLE).content)) as file:
        assert file.read(f"{STEM}/months/2018-05/{evil}") == b"y"
        assert "<img" not in file.read(f"{STEM}/README.md").decode()
