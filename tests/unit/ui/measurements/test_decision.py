"""One measurement's page: what differs, who may answer, and what is refused before Airflow is asked."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from urllib.parse import urlencode

import pytest
from confidential_spark.image_build.approval import REBUILT, ApproveMeasurementOperator
from confidential_spark.image_build.context import InputList, list_of_inputs
from confidential_spark.image_build.inputs import Commit
from confidential_spark.ui.measurements import changes

from tests.unit.ui.measurements.conftest import ASKED, IN_USE, NEW, OLD, PROPOSED, RUN
from tests.unit.ui.measurements.test_measurements import said

HOST = "testserver"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
HERE = {**FORM, "Origin": f"http://{HOST}"}
PAGE = f"/measurements/{RUN}"
BAD = '<img src=x onerror="alert(1)">'
APPROVE = {"answer": "Approve", "mrenclave": PROPOSED.mrenclave, "reviewed": "on"}
OTHER = "08" * 32


@pytest.fixture(autouse=True)
def deployed(image_deployment) -> SimpleNamespace:
    return image_deployment


@pytest.fixture(autouse=True)
def repository(monkeypatch) -> dict[tuple[str, str], tuple[Commit, ...]]:
    """Commits of a repository, by the revisions that they lead between; none at first."""
    known: dict[tuple[str, str], tuple[Commit, ...]] = {}
    monkeypatch.setattr(changes, "commits_between", lambda _, older, newer: known.get((older, newer), ()))
    return known


def answered():
    """Return what Airflow has kept of the answer: options, fields, user."""
    from airflow.models.hitl import HITLDetail
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        joined = select(HITLDetail).join(TaskInstance, TaskInstance.id == HITLDetail.ti_id)
        found = session.scalars(joined.where(TaskInstance.run_id == RUN)).one()
        if found.responded_at is None:
            return None
        return found.chosen_options, found.params_input, found.responded_by["name"]


def event():
    """Return what Airflow resumes the task with."""
    from airflow.models.hitl import HITLDetail
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        joined = select(HITLDetail).join(TaskInstance, TaskInstance.id == HITLDetail.ti_id)
        return session.scalars(joined.where(TaskInstance.run_id == RUN)).one().as_resume_event_payload()


def post(user, fields, headers=HERE):
    return user.post(PAGE, content=urlencode(fields), headers=headers)


def test_it_shows_what_is_in_use_beside_what_is_proposed(browse, in_use, ask, repository) -> None:
    repository["0123abc", "11c8e19"] = (Commit("11c8e19", "ann", "2026-11-28", "Change <a>"),)
    ask()
    text = said(browse("user").get(PAGE).text)
    assert f"MRENCLAVE {IN_USE.mrenclave} {PROPOSED.mrenclave} CHANGED" in text
    assert f"MRSIGNER {IN_USE.mrsigner} {PROPOSED.mrsigner} same" in text
    assert "revision 0123abc 11c8e19 CHANGED" in text
    assert "base image sha256:base sha256:base same" in text
    assert "it is entry 2 of the ledger; in use is entry 1" in text
    assert "11c8e19 Change &lt;a&gt; ann, 2026-11-28" in text
    assert "3 files differ, 1 are the same" in text
    shown = [(what, path) for what in ("changed", "removed", "added") for path in (OLD.files | NEW.files)]
    assert {pair for pair in shown if f"{pair[0]} {pair[1]} ".replace("<d>", "&lt;d&gt;") in text} == {
        ("changed", "application/a.py"),
        ("removed", "scripts/b.sh"),
        ("added", "jre/<d>"),
    }
    assert "git checkout --detach 11c8e19" in text
    assert "CONFIDENTIAL_SPARK_IMAGE_POLICY=simulation-image make image &lt; /dev/null" in text
    assert "nytaxi_dcsv3, nytaxi_demand_dcsv3, sparkpi_dcsv3" in text
    assert "nytaxi_local" not in text
    assert "SIMULATED – proves nothing about hardware" in text


def test_dags_whose_image_a_setting_names_are_not_concerned(browse, in_use, ask, deploy) -> None:
    deploy(dcsv3_image=f"registry.example/enclave@sha256:{'cd' * 32}")
    ask()
    text = said(browse().get(PAGE).text)
    assert "would use it: nytaxi_aks, nytaxi_demand_aks, sparkpi_aks." in text


def test_commits_that_would_be_undone_are_a_warning(browse, in_use, ask, repository) -> None:
    repository["11c8e19", "0123abc"] = (Commit("0123abc", "eve", "2026-11-28", "Fix"),)
    ask()
    assert "1 commit of the image in use is not in the proposed one" in said(browse().get(PAGE).text)


def test_without_a_repository_it_says_so(browse, in_use, ask, monkeypatch, tmp_path) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(changes, "PROJECT_DIR", tmp_path)
    found = changes.commit_changes("0123abc", "11c8e19")
    assert (found.added, found.missing) == ((), ())
    assert found.unknown == "This server has no work tree of git with both revisions."


def test_sources_that_no_commit_has_are_said_to_be_so(browse, in_use, ask) -> None:
    ask(revision="11c8e19-dirty")
    text = said(browse().get(PAGE).text)
    assert "No commit has these sources." in text
    assert "git checkout" not in text


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        pytest.param(NEW, "There is no list of the proposed image", id="of-the-proposed"),
        pytest.param(OLD, "There is no list of the inputs of the image in use", id="of-the-one-in-use"),
    ],
)
def test_without_lists_of_inputs_it_says_so(browse, in_use, ask, deployed, missing, expected) -> None:
    list_of_inputs(deployed.ledger, missing.inputs_sha256).unlink()
    ask()
    assert expected in said(browse().get(PAGE).text)


@pytest.mark.parametrize(
    ("approved", "expected"),
    [
        pytest.param(False, "Nothing is in use yet: this would be the first.", id="first"),
        pytest.param(True, "this is the ledger's latest entry", id="not-announced-here"),
    ],
)
def test_there_may_be_nothing_in_use(browse, ask, approve, announce, approved, expected) -> None:
    if approved:
        approve()
    ask()
    assert expected in said(browse().get(PAGE).text).replace("&#39;", "'")


def test_an_image_in_use_that_nobody_approved_is_said_to_be_so(browse, ask, announce) -> None:
    announce(IN_USE)
    ask()
    assert "No entry of the ledger approves it." in said(browse().get(PAGE).text)


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        pytest.param({}, {}, id="without-a-build-of-their-own"),
        pytest.param(
            {"rebuilt": f" {PROPOSED.mrenclave.upper()}\n"}, {REBUILT: PROPOSED.mrenclave}, id="rebuilt"
        ),
    ],
)
def test_an_approval_goes_to_airflow_as_the_user(browse, in_use, ask, fields, kept) -> None:
    ask()
    answer = post(browse("user"), APPROVE | fields)
    assert (answer.status_code, answer.headers.get("location")) == (
        303,
        "manual__2026-11-29T10%3A00%3A00%2B00%3A00",
    ), answer.text
    assert answered() == (["Approve"], kept, "user")
    text = said(browse("user").get(PAGE).text)
    assert "Approve by user at" in text
    assert "Your answer" not in text
    # What Airflow hands to the task.
    task = ApproveMeasurementOperator(
        task_id="ask", measured={"image": PROPOSED.to_xcom(), "revision": "11c8e19"}, comparison={}
    )
    run = SimpleNamespace(triggering_user_name="ann")
    decision = task.execute_complete({"ti": SimpleNamespace(task_id="ask"), "dag_run": run}, event())
    assert (decision["approved_by"], decision["requested_by"]) == ("user", "ann")
    assert decision["rebuilt"] is bool(kept)


def test_a_rejection_needs_no_review(browse, in_use, ask) -> None:
    ask()
    assert post(browse("user"), {"answer": "Reject", "rebuilt": PROPOSED.mrenclave}).status_code == 303
    assert answered() == (["Reject"], {}, "user")


def test_the_audit_log_is_airflows(browse, in_use, ask, audit_log) -> None:
    ask()
    before = len(audit_log())
    said = post(browse("user"), APPROVE)
    assert said.status_code == 303, said.text
    assert audit_log()[before:] == [("update_hitl_detail", "user", RUN)]


@pytest.mark.parametrize(
    ("fields", "status", "expected"),
    [
        pytest.param({"rebuilt": OTHER}, 409, f"Your own build has measured {OTHER}", id="other-measurement"),
        pytest.param({"rebuilt": BAD}, 409, "Your own build has measured", id="markup"),
        pytest.param({"rebuilt": PROPOSED.mrenclave[:12]}, 409, "Your own build", id="a-part-of-it"),
        pytest.param({"mrenclave": OTHER}, 409, "Another image is proposed", id="changed-meanwhile"),
        pytest.param({"reviewed": "no"}, 400, "you have reviewed what differs", id="not-reviewed"),
        pytest.param({"answer": "Perhaps"}, 400, "Neither Approve nor Reject", id="another-answer"),
    ],
)
def test_what_is_refused_before_airflow_is_asked(browse, in_use, ask, fields, status, expected) -> None:
    ask()
    answer = post(browse("user"), APPROVE | fields)
    assert answer.status_code == status
    assert expected in said(answer.text)
    assert "REFUSED" in answer.text
    assert "<img" not in answer.text
    assert answered() is None
    assert "Approve 070707070707…" in answer.text, "the question is still there"


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        pytest.param("", HERE, 400, id="nothing"),
        pytest.param("answer=Approve", {**HERE, "Content-Type": "text/plain"}, 415, id="no-form"),
        pytest.param("answer=Approve&" * 6000, HERE, 413, id="too-large"),
        pytest.param(urlencode(APPROVE), FORM, 403, id="no-origin"),
        pytest.param(urlencode(APPROVE), {**FORM, "Origin": "https://evil.example"}, 403, id="another-site"),
        pytest.param(urlencode(APPROVE), {**FORM, "Origin": f"http://{HOST}.evil.example"}, 403, id="longer"),
        pytest.param(urlencode(APPROVE), {**FORM, "Origin": "null"}, 403, id="null"),
    ],
)
def test_what_is_no_form_of_this_page_does_nothing(browse, in_use, ask, content, headers, status) -> None:
    ask()
    assert browse("user").post(PAGE, content=content, headers=headers).status_code == status
    assert answered() is None


@pytest.mark.parametrize(
    ("role", "status"),
    [
        pytest.param(None, 401, id="stranger"),
        pytest.param("nobody", 403, id="nobody"),
        pytest.param("viewer", 403, id="viewer"),
    ],
)
@pytest.mark.parametrize("fields", [APPROVE, {"answer": "Reject"}])
def test_who_may_not_answer(browse, in_use, ask, role, status, fields) -> None:
    ask()
    answer = post(browse(role), fields)
    assert answer.status_code == status
    assert answered() is None
    if role == "viewer":
        assert "Airflow did not take the answer: Forbidden" in said(answer.text)
        page = said(browse(role).get(PAGE).text)
        assert "You may look at this and not answer it." in page
        assert "Reject: nothing changes" not in page


@pytest.mark.parametrize("requester", ["user", "USER"])
def test_a_second_person_may_be_required(browse, in_use, ask, deploy, requester) -> None:
    deploy(image_second_person="true", image_requesters="user,ann")
    ask(requester=requester)
    user, admin = browse("user"), browse("admin")
    assert "A second person has to approve" in said(user.get(PAGE).text)
    answer = post(user, APPROVE)
    assert answer.status_code == 403
    assert "Whoever requested an image may not approve it" in said(answer.text)
    assert answered() is None
    assert post(admin, APPROVE).status_code == 303


@pytest.mark.parametrize(
    ("requester", "triggered_by", "shown"),
    [
        pytest.param(None, "TIMETABLE", "nobody known", id="schedule"),
        pytest.param("root", "CLI", "root, on a command line", id="command-line"),
        pytest.param("ann", "CLI", "ann, on a command line", id="command-line-of-a-namesake"),
        pytest.param("dag_test", "TEST", "dag_test, on a command line", id="dags-test"),
        pytest.param("eve", "UI", "eve", id="account-that-is-not-named"),
    ],
)
def test_where_the_requester_is_unknown_everybody_may_reject_only(
    browse, in_use, ask, deploy, requester, triggered_by, shown
) -> None:
    deploy(image_second_person="true", image_requesters="user,ann")
    ask(requester=requester, triggered_by=triggered_by)
    text = said(browse("admin").get(PAGE).text)
    assert f"Requested by {shown} , asked" in text
    assert "trigger enclave_image on Airflow" in text
    for role in ("user", "admin"):
        answer = post(browse(role), APPROVE)
        assert (answer.status_code, "Nobody knows which person" in said(answer.text)) == (403, True)
    assert answered() is None
    assert post(browse("admin"), {"answer": "Reject"}).status_code == 303


def test_without_the_setting_the_requester_may_approve(browse, in_use, ask) -> None:
    ask(requester="user")
    assert post(browse("user"), APPROVE).status_code == 303


def test_an_answer_is_given_once(browse, in_use, ask) -> None:
    ask()
    assert post(browse("user"), {"answer": "Reject"}).status_code == 303
    answer = post(browse("admin"), APPROVE)
    assert answer.status_code == 409
    assert "Nothing is asked here any longer" in said(answer.text)
    assert answered()[0] == ["Reject"]


def test_after_its_time_nothing_is_asked(browse, in_use, ask) -> None:
    ask(state="failed")
    text = said(browse("user").get(PAGE).text)
    assert "Nothing is asked here any longer: the task is failed." in text
    assert post(browse("user"), APPROVE).status_code == 409
    assert answered() is None


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        pytest.param({}, "does not say what it has measured", id="nothing"),
        pytest.param(PROPOSED.to_xcom() | {"mrenclave": BAD}, "does not say what", id="markup"),
        pytest.param(replace(PROPOSED, trust="hardware"), "The image is for hardware", id="other-trust"),
    ],
)
def test_what_cannot_be_judged_can_be_rejected_only(browse, in_use, ask, image, expected) -> None:
    ask(image)
    page = browse("user").get(PAGE).text
    assert expected in said(page)
    assert "Reject: nothing changes" in page
    assert 'value="Approve"' not in page
    assert "<img" not in page
    assert post(browse("user"), APPROVE).status_code == 409
    assert answered() is None


def test_a_broken_ledger_stops_every_approval(browse, in_use, approve, ask, deployed) -> None:
    approve(PROPOSED, by="grace")
    deployed.ledger.write_bytes(deployed.ledger.read_bytes().replace(b"ada", b"eve"))
    ask()
    text = said(browse("user").get(PAGE).text)
    assert "nothing can be approved [ledger-broken]" in text
    assert post(browse("user"), APPROVE).status_code == 409
    assert answered() is None


def test_nothing_that_people_wrote_is_markup(browse, in_use, approve, ask, repository, deployed) -> None:
    repository["0123abc", "11c8e19"] = (Commit("11c8e19", BAD, BAD, BAD),)
    by = {"responded_at": ASKED, "responded_by": {"id": BAD, "name": BAD}, "chosen_options": [BAD]}
    ask(requester=BAD, **by)
    html = browse("user").get(PAGE).text
    assert "<img" not in html
    assert html.count("&lt;img src=x") == 6


@pytest.mark.parametrize("name", ["x", "..%2f..", "%3Cscript%3E", "a" * 251])
def test_other_names_have_no_question(browse, in_use, ask, name) -> None:
    ask()
    answer = browse("user").get(f"/measurements/{name}")
    assert answer.status_code in (404, 422)
    assert "<script>" not in answer.text


def test_only_the_question_of_the_image_dag_is_answered(browse, in_use, ask) -> None:
    ask(dag_id="sparkpi_local")
    assert browse("user").get(PAGE).status_code == 404
    assert post(browse("user"), APPROVE).status_code == 404
    assert answered() is None


def test_a_file_that_only_became_executable_is_a_difference() -> None:
    before = InputList("b", {}, (), {"a": "1", "b": "2"})
    after = InputList("b", {}, ("b",), {"a": "1", "b": "2"})
    assert [(each.path, each.what) for each in changes.file_changes(before, after)] == [("b", "mode")]
