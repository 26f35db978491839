"""Filling gaps: exactly what is missing, by Airflow's own API, as the user, and stopped when it should be."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest
from confidential_spark.core.platforms import Platform
from confidential_spark.core.stages import FILL_KEY, TASK_IDS, fill_run_id
from confidential_spark.jobs import JOBS
from confidential_spark.ui.gaps import airflow_api
from confidential_spark.ui.room import page as room

from tests.unit.ui.conftest import DAG_ID, with_checks

HOST = "testserver"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
HERE = {**FORM, "Origin": f"http://{HOST}"}
RANGE = "first=2018-01&last=2018-08"
FILL = "20261129T101500Z"


@pytest.fixture
def dag(dag_run, airflow_database):
    """Airflow knows the real DAG, and that it is switched on."""
    from airflow.models.dag import DagModel
    from airflow.models.dag_version import DagVersion
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.serialization.serialized_objects import LazyDeserializedDAG
    from airflow.utils.session import create_session
    from confidential_spark.pipelines.job import confidential_dag
    from confidential_spark.pipelines.params import month_param
    from sqlalchemy import delete, update

    dag_run("success", {}, run_id="known")
    dag = confidential_dag(JOBS["nytaxi"], Platform.LOCAL, doc_md="", params={"month": month_param()})
    with create_session() as session:
        session.execute(delete(DagVersion).where(DagVersion.dag_id == DAG_ID))
        SerializedDagModel.write_dag(LazyDeserializedDAG.from_dag(dag), bundle_name="tests", session=session)
        session.flush()
        # The latest, whatever versions the runs of tests bring along.
        latest = {"version_number": 1000, "created_at": datetime(2100, 1, 1, tzinfo=UTC)}
        session.execute(update(DagVersion).where(DagVersion.dag_id == DAG_ID).values(**latest))
        switched = update(DagModel).where(DagModel.dag_id == DAG_ID)
        session.execute(switched.values(is_paused=False, is_stale=False, max_active_runs=4))
    return dag


@pytest.fixture
def months(publish, dag):
    for month in ("2018-01", "2018-02", "2018-04", "2018-08"):
        publish(key=f"month={month}", report=with_checks())


def runs():
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        found = session.scalars(select(DagRun).where(DagRun.run_id.startswith("gaps__")).order_by(DagRun.id))
        return [
            (run.run_id.split("__")[2], dict(run.conf), str(run.state), run.triggering_user_name)
            for run in found
        ]


def checked(html):
    return re.findall(r'name="month" value="([0-9-]+)" checked', html)


def fields(*months, **more):
    return urlencode([*(("month", month) for month in months), *more.items()])


def start(user, *months, headers=HERE, **more):
    return user.post(f"/gaps/{DAG_ID}", content=fields(*months, **more), headers=headers)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param(RANGE, ["2018-07", "2018-06", "2018-05", "2018-03"], id="newest-first"),
        pytest.param(
            f"{RANGE}&order=oldest", ["2018-03", "2018-05", "2018-06", "2018-07"], id="oldest-first"
        ),
        pytest.param("first=2018-04&last=2018-04", [], id="nothing-missing"),
        pytest.param("first=2018-04&last=2018-05&again=on", ["2018-05", "2018-04"], id="again"),
        pytest.param("first=2018-06&last=2018-05", [], id="the-wrong-way-round"),
        pytest.param("first=x&last=2018-03", ["2018-03"], id="malformed"),
    ],
)
def test_the_preview_has_exactly_what_is_missing(browse, months, query, expected):
    assert checked(browse("user").get(f"/gaps/{DAG_ID}?{query}").text) == expected


def test_what_is_queued_or_runs_is_no_gap(browse, months, dag_run):
    dag_run("queued", {}, run_id="a", conf={"month": "2018-05"})
    dag_run("running", {"spark.run_spark": "running"}, run_id="b", conf={"month": "2018-06"}, xcoms={})
    html = browse("user").get(f"/gaps/{DAG_ID}?{RANGE}").text
    assert checked(html) == ["2018-07", "2018-03"]
    assert "2 other runs of nytaxi_local may go first: 16 may go on at once." in html


def test_a_gap_whose_last_run_failed_says_so(browse, months, dag_run):
    dag_run("failed", {"spark.run_spark": "failed"}, run_id="a", conf={"month": "2018-05"})
    html = browse("user").get(f"/gaps/{DAG_ID}?{RANGE}").text
    assert "2018-05" in checked(html)
    assert "failed, spark.run_spark failed. Nothing was published." in html


def test_each_gap_gets_a_run_by_airflows_api_as_the_user(browse, months, audit_log):
    before = len(audit_log())
    answer = start(browse("user"), "2018-03", "2018-05", "2018-06", order="oldest", stop="on")
    assert answer.status_code == 303, answer.text
    assert re.fullmatch(rf"{DAG_ID}/[0-9]{{8}}T[0-9]{{6}}Z", answer.headers["location"])
    fill = answer.headers["location"].partition("/")[2]
    expected = ["2018-03", "2018-05", "2018-06"]
    conf = {"id": fill, "stop": True, "months": expected}
    assert runs() == [(month, {"month": month, FILL_KEY: conf}, "queued", "user") for month in expected]
    assert {entry[:2] for entry in audit_log()[before:]} == {("trigger_dag_run", "user")}


def test_a_published_month_is_not_run_again_unless_asked(browse, months):
    user = browse("user")
    assert start(user, "2018-04").status_code == 409
    assert start(user, "2018-04", "2018-05").status_code == 303
    assert [month for month, *_ in runs()] == ["2018-05"]
    assert start(user, "2018-04", again="on").status_code in (303, 409)  # 409: the same second, the same name


@pytest.mark.parametrize("role", [pytest.param("viewer", id="viewer"), pytest.param("nobody", id="nobody")])
def test_who_may_not_trigger_the_dag_starts_nothing(browse, months, role):
    user = browse(role)
    page = user.get(f"/gaps/{DAG_ID}?{RANGE}")
    assert page.status_code == (200 if role == "viewer" else 403)
    assert "Start 4 runs" not in page.text
    answer = start(user, "2018-05")
    assert answer.status_code == 403
    assert runs() == []


def test_a_stranger_starts_nothing(browse, months):
    assert start(browse(None), "2018-05").status_code == 401
    assert runs() == []


@pytest.mark.parametrize(
    "origin",
    [
        pytest.param({}, id="absent"),
        pytest.param({"Origin": "null"}, id="null"),
        pytest.param({"Origin": "https://evil.example"}, id="another-site"),
        pytest.param({"Origin": f"http://{HOST}.evil.example"}, id="a-longer-name"),
        pytest.param({"Origin": f"http://{HOST}:8081"}, id="another-port"),
        pytest.param({"Origin": f"http://evil@{HOST}x"}, id="user-in-it"),
    ],
)
@pytest.mark.parametrize("place", ["", f"/{FILL}/cancel"])
def test_another_sites_form_does_nothing(browse, months, origin, place):
    answer = browse("user").post(
        f"/gaps/{DAG_ID}{place}", content=fields("2018-05"), headers={**FORM, **origin}
    )
    assert answer.status_code == 403
    assert "so nothing was done" in answer.text
    assert runs() == []


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        pytest.param("", HERE, 400, id="no-month"),
        pytest.param("month=2018-13", HERE, 400, id="malformed"),
        pytest.param("month=%3Cscript%3E", HERE, 400, id="markup"),
        pytest.param("month=2018-05", {**HERE, "Content-Type": "text/plain"}, 415, id="no-form"),
        pytest.param("month=2018-05&" * 6000, HERE, 413, id="too-large"),
    ],
)
def test_what_is_no_form_of_ours_is_refused(browse, months, content, headers, status):
    answer = browse("user").post(f"/gaps/{DAG_ID}", content=content, headers=headers)
    assert answer.status_code == status
    assert "<script>" not in answer.text
    assert runs() == []


def fill_runs(dag_run, states, *, stop=True):
    names = list(states)
    for month, (state, tasks) in states.items():
        conf = {"month": month, FILL_KEY: {"id": FILL, "stop": stop, "months": names}}
        dag_run(state, tasks, run_id=fill_run_id(FILL, month), conf=conf, xcoms={})


GREEN = dict.fromkeys(TASK_IDS, "success")
SKIPPED = {**dict.fromkeys(TASK_IDS, "skipped"), "validation.clean_staging": "success"}
PROGRESS = f"/gaps/{DAG_ID}/{FILL}"


def test_progress_says_what_came_of_each_month_and_offers_the_rest(browse, months, dag_run):
    states = {
        "2018-03": ("success", GREEN),
        "2018-05": ("failed", {"spark.run_spark": "failed"}),
        "2018-06": ("success", SKIPPED),
    }
    fill_runs(dag_run, states)
    html = browse("user").get(PROGRESS).text
    assert "3 of 3 runs are over" in html
    assert "1 passed" in html
    assert "1 not started" in html
    assert "An earlier month of the same filling of gaps failed" in html
    assert "Resume: fill what remains (2)" in html
    assert "?first=2018-05&amp;last=2018-06" in html
    assert 'data-poll="' not in html
    gaps = browse("user").get(f"/gaps/{DAG_ID}?first=2018-05&last=2018-06")
    assert checked(gaps.text) == ["2018-06", "2018-05"]
    assert FILL in gaps.text


@pytest.mark.parametrize("running", [False, True])
def test_cancelling_deletes_what_has_not_begun(browse, months, dag_run, running):
    fill_runs(
        dag_run,
        {
            "2018-03": ("success", GREEN),
            "2018-05": ("running", {"spark.run_spark": "running"}),
            "2018-06": ("queued", {}),
            "2018-07": ("queued", {}),
        },
    )
    user = browse("user")
    assert "Cancel the rest" in user.get(PROGRESS).text
    assert "Cancel the rest" not in browse("viewer").get(PROGRESS).text
    answer = user.post(f"{PROGRESS}/cancel", content="running=on" if running else "", headers=HERE)
    assert (answer.status_code, answer.headers.get("location")) == (303, f"../{FILL}"), answer.text
    left = {month: state for month, _, state, _ in runs()}
    assert left == {"2018-03": "success", "2018-05": "failed" if running else "running"}


def test_a_viewer_cancels_nothing(browse, months, dag_run):
    fill_runs(dag_run, {"2018-06": ("queued", {})})
    answer = browse("viewer").post(f"{PROGRESS}/cancel", content="", headers=HERE)
    assert answer.status_code == 403
    assert len(runs()) == 1


@pytest.mark.parametrize("name", ["20261129T101500Y", "x", "%3Cscript%3E", "..%2f..", "20261129T101501Z"])
def test_other_names_are_no_fillings(browse, months, name):
    answer = browse("user").get(f"/gaps/{DAG_ID}/{name}")
    assert answer.status_code == 404
    assert "<script>" not in answer.text


@pytest.mark.parametrize(
    ("slots", "said"),
    [
        (0, "The pool enclave_local has no slots"),
        (None, "There is no pool enclave_local"),
        (1, ", 1 at once"),
    ],
)
def test_what_would_keep_the_runs_waiting(browse, months, slots, said):
    from airflow.models.dag import DagModel
    from airflow.models.pool import Pool
    from airflow.utils.session import create_session
    from sqlalchemy import delete, select, update

    ours = Pool.pool == "enclave_local"
    with create_session() as session:
        session.execute(update(DagModel).where(DagModel.dag_id == DAG_ID).values(is_paused=True))
        before = session.scalar(select(Pool.slots).where(ours))
        session.execute(delete(Pool).where(ours))
        if slots is not None:
            session.add(Pool(pool="enclave_local", slots=slots, include_deferred=False))
    try:
        html = browse("user").get(f"/gaps/{DAG_ID}?{RANGE}").text
    finally:
        with create_session() as session:
            session.execute(delete(Pool).where(ours))
            if before is not None:
                session.add(Pool(pool="enclave_local", slots=before, include_deferred=False))
    assert "nytaxi_local is paused" in html
    assert said in html


def test_page_and_plugin_agree_on_where_airflow_is():
    from confidential_spark import plugin

    assert plugin.AIRFLOW == airflow_api.AIRFLOW


@pytest.fixture(autouse=True)
def nothing_inline(monkeypatch):
    monkeypatch.setattr(room, "INLINE_S", 0.0)


def test_a_range_whose_end_is_before_its_beginning_is_not_called_complete(browse, dag):
    html = browse("user").get(f"/gaps/{DAG_ID}?first=2018-08&last=2018-01").text
    assert "The first month, 2018-08, is after the last, 2018-01" in html
    assert "Nothing is missing" not in html
