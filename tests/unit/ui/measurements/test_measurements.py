"""The ledger's page: what it says is verified when it is shown, and a broken chain is said to be one."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from confidential_spark.pipelines.image import enclave_image_dag
from confidential_spark.ui.measurements import airflow_rows
from confidential_spark.ui.measurements.decision import COMPARED, MEASURED
from confidential_spark.ui.room.needs import APPROVAL_TASK, IMAGE_DAG

from tests.unit.ui.measurements.conftest import ASKED, DIGEST, IN_USE, PROPOSED, RUN

if TYPE_CHECKING:
    from types import SimpleNamespace

PAGE = "/measurements"


@pytest.fixture(autouse=True)
def deployed(image_deployment) -> SimpleNamespace:
    return image_deployment


def said(html: str) -> str:
    """Return what a reader reads."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html.partition("<main")[2]))


def test_the_pages_and_the_dag_call_the_tasks_the_same() -> None:
    dag = enclave_image_dag(doc_md="")
    assert dag.dag_id == IMAGE_DAG
    assert {MEASURED, COMPARED, APPROVAL_TASK} <= set(dag.task_ids)


@pytest.mark.parametrize(
    ("role", "status"),
    [
        pytest.param(None, 401, id="stranger"),
        pytest.param("nobody", 403, id="nobody"),
        pytest.param("viewer", 200, id="viewer"),
        pytest.param("admin", 200, id="admin"),
    ],
)
def test_who_may_see_it(browse, in_use, ask, role, status) -> None:
    ask()
    for path in (PAGE, f"{PAGE}/{RUN}"):
        response = browse(role).get(path)
        assert response.status_code == status
        assert (IN_USE.mrenclave in response.text) is (status == 200)


def test_an_empty_deployment_says_so(browse, announce) -> None:
    html = said(browse().get(PAGE).text)
    assert "Waits for a decision (0)" in html
    assert "Nothing was approved yet." in html
    assert "There is no image yet." in html


def test_each_approval_is_shown_with_what_uses_it(browse, in_use, approve) -> None:
    approve(PROPOSED, by="grace (7)", requested_by="ann", rebuilt=True)
    html = browse().get(PAGE).text
    text = said(html)
    assert "chain verified now" in text
    assert "2 entries" in text
    assert "Approved by ada at 2026-11-20T10:00:00Z. Not rebuilt" in text
    assert "requested by ann . rebuilt by the approver" in text
    first = said("<main>" + html.partition('<tr id="approvals-simulated.jsonl-1">')[2])
    assert "Runs now on dcsv3, aks." in first
    assert text.count("Runs now on") == 1
    assert text.index("2 · 070707070707…") < text.index("1 · 010101010101…"), "the latest first"
    for digest in (IN_USE.mrenclave, IN_USE.mrsigner, DIGEST, "0123abc"):
        assert digest in text
    assert "Used by nytaxi_dcsv3" in text


@pytest.mark.parametrize(
    ("change", "code", "intact"),
    [
        pytest.param(lambda d: d.replace(b"ada", b"eve"), "ledger-broken", 1, id="changed"),
        pytest.param(lambda d: d.splitlines(keepends=True)[1], "ledger-broken", 0, id="removed"),
        pytest.param(lambda d: d[:-1], "ledger-malformed", 1, id="cut-off"),
        pytest.param(lambda d: d + b"<script>\n", "ledger-malformed", 2, id="markup"),
    ],
)
def test_a_broken_ledger_is_said_to_be_broken(
    browse, in_use, approve, deployed, change, code, intact
) -> None:
    approve(PROPOSED, by="grace")
    deployed.ledger.write_bytes(change(deployed.ledger.read_bytes()))
    html = browse().get(PAGE).text
    assert f"BROKEN – {code}" in html
    assert f"Intact before that: {intact} entr" in html
    assert "chain verified now" not in html
    assert said(html).count(f"The ledger is refused [{code}].") == 2, "of both platforms that read it"
    assert f'href="runbooks/{code}"' in html
    assert "<script>\n" not in html.replace('<script src="page.js">', "")
    assert str(deployed.policies) not in html


def test_a_ledger_that_cannot_be_read_is_no_empty_one(browse, deployed) -> None:
    deployed.ledger.mkdir()
    html = browse().get(PAGE).text
    assert "BROKEN – ledger-missing" in html
    assert str(deployed.policies) not in html


def test_what_the_policy_denies_by_now_is_refused(browse, in_use, deployed) -> None:
    text = deployed.policy.read_text()
    deployed.policy.write_text(text.replace("minimum: 2", "minimum: 3"))
    html = said(browse().get(PAGE).text)
    assert "Runs are refused: svn-too-low" in html
    assert "The policy refuses it now: svn-too-low." in html


def test_a_policy_that_cannot_be_read_is_named(browse, in_use, deployed) -> None:
    deployed.policy.write_text("name: [")
    html = said(browse().get(PAGE).text)
    assert "policy not readable" in html
    assert "policy-malformed" in html


@pytest.mark.parametrize(
    ("resolved", "expected"),
    [
        pytest.param(True, "Entry 1 of approvals-simulated.jsonl", id="a-run-has-resolved-it"),
        pytest.param(
            False, "this server learns which enclave it is when a run has resolved it", id="not-yet"
        ),
    ],
)
def test_an_image_that_a_setting_names(browse, in_use, deploy, dag_run, resolved, expected) -> None:
    named = f"registry.example/enclave@sha256:{'cd' * 32}"
    deploy(dcsv3_image=named)
    if resolved:
        image = replace(IN_USE, reference=named, digest=named.rpartition("@")[2])
        xcoms = {("image.resolve_image", "return_value"): image.to_xcom()}
        dag_run("success", {"image.resolve_image": "success"}, dag_id="sparkpi_dcsv3", xcoms=xcoms)
    html = said(browse().get(PAGE).text)
    assert expected in html
    assert "named by CONFIDENTIAL_SPARK_DCSV3_IMAGE" in html


def test_local_needs_no_ledger(browse) -> None:
    html = said(browse().get(PAGE).text)
    assert "The policy itself lists its measurements; there is no ledger." in html


def test_what_waits_is_shown_with_requester_age_and_deadline(browse, in_use, ask, monkeypatch) -> None:
    now = ASKED + timedelta(hours=2, minutes=5, seconds=30)
    monkeypatch.setattr(airflow_rows, "utc_now", lambda: now)
    ask()
    ask(run_id="manual__2", requester=None, state="success", deadline=None)
    html = browse().get(PAGE).text
    assert "Waits for a decision (1)" in html
    text = said(html)
    assert "Requested by ann , asked " in text
    assert "(2 h 05 min ago)" in text
    assert "69 h 54 min more" in text
    assert 'href="measurements/manual__2026-11-29T10%3A00%3A00%2B00%3A00"' in html


def test_the_control_room_leads_to_the_question(browse, dag_run, in_use, ask) -> None:
    dag_run("success", {}, run_id="known")
    ask(subject="<b>Approve</b>?")
    html = browse().get("/room?dag_id=nytaxi_local").text
    assert 'href="measurements/manual__2026-11-29T10%3A00%3A00%2B00%3A00">Review the change</a>' in html
    assert 'href="measurements">Measurements</a>' in html
    assert "<b>Approve" not in html


def test_nothing_that_people_wrote_is_markup(browse, approve, ask, announce) -> None:
    bad = '<img src=x onerror="alert(1)">'
    approve(by=bad, requested_by=bad)
    ask(requester=bad)
    html = browse().get(PAGE).text
    assert html.count("&lt;img src=x") == 3
    assert "<img" not in html
