"""Who may approve what: the policy first, then a person, then the ledger; anything else publishes nothing."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskAwaitingInput
from confidential_spark.core.errors import ConfidentialSparkError, PolicyError
from confidential_spark.enclave.image import EnclaveImage
from confidential_spark.image_build.approval import (
    ALIAS,
    REBUILT,
    ApproveMeasurementOperator,
    CompareWithLedgerOperator,
    PublishImageOperator,
    RecordApprovalOperator,
    new_approval,
    person,
)
from confidential_spark.image_build.ledger import append_approval
from confidential_spark.settings import PROJECT_DIR
from confidential_spark.verification import load_policy
from confidential_spark.verification.policy.ledger import read_ledger

if TYPE_CHECKING:
    from airflow.sdk import Asset

DIGEST = "sha256:" + "ab" * 32
IMAGE = EnclaveImage(
    reference=DIGEST,
    digest=DIGEST,
    trust="simulated",
    mrenclave="01" * 32,
    mrsigner="02" * 32,
    product_id=1,
    svn=2,
    debuggable=False,
    inputs_sha256="03" * 32,
)
DECISION = {"approved_by": "ada", "approved_at": "2026-11-23T10:00:00Z"}
NOON = datetime(2026, 11, 23, 13, 0, tzinfo=timezone(timedelta(hours=1)))


def measured(image: EnclaveImage = IMAGE) -> dict[str, Any]:
    return {"image": image.to_xcom(), "revision": "0123abc"}


class Events(dict):
    """Outlet events, of one alias."""

    def __init__(self) -> None:
        self[ALIAS] = SimpleNamespace(add=lambda asset, extra: self.added.append((asset, extra)))
        self.added: list[tuple[Asset, dict[str, Any]]] = []


@pytest.fixture
def deployment(tmp_path, deploy) -> SimpleNamespace:
    """A deployment that simulates, with an empty ledger."""
    policies = tmp_path / "include" / "policies"
    policies.mkdir(parents=True)
    (policies / "roots").symlink_to(PROJECT_DIR / "include" / "policies" / "roots")
    policy = policies / "simulation-image.yaml"
    policy.write_text((PROJECT_DIR / "include" / "policies" / policy.name).read_text())
    deploy(include_dir=tmp_path / "include", image_policy="simulation-image")
    return SimpleNamespace(ledger=load_policy(policy).approvals_path, policy=policy)


def context(requester: str | None = "grace") -> dict[str, Any]:
    ti = SimpleNamespace(dag_id="enclave_image", task_id="task", xcom_push=lambda **_: None)
    return {
        "ti": ti,
        "outlet_events": Events(),
        "dag": SimpleNamespace(params={}),
        "dag_run": SimpleNamespace(conf={}, triggering_user_name=requester),
    }


def compare(image: EnclaveImage = IMAGE) -> dict[str, Any]:
    return CompareWithLedgerOperator(task_id="compare", measured=measured(image)).run(context())


def record(image: EnclaveImage = IMAGE) -> dict[str, Any]:
    return RecordApprovalOperator(task_id="record", measured=measured(image), decision=DECISION).run(
        context()
    )


def test_a_new_measurement_is_not_approved_and_an_approved_one_is(deployment) -> None:
    assert compare()["approved"] is False
    assert not deployment.ledger.exists()
    record()
    assert compare() | {"approved": True, "by": "ada, 2026-11-23T10:00:00Z", "approvals": 1} == compare()


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"mrenclave": "09" * 32}, id="measurement"),
        pytest.param({"mrsigner": "09" * 32}, id="signer"),
        pytest.param({"svn": 3}, id="version"),
    ],
)
def test_an_approval_is_for_one_identity(deployment, other) -> None:
    record()
    assert compare(replace(IMAGE, **other))["approved"] is False


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param({"debuggable": True}, "debuggable", id="debug-build"),
        pytest.param({"product_id": 7}, "product-id-not-allowed", id="other-product"),
        pytest.param({"svn": 1}, "svn-too-low", id="old-version"),
        pytest.param({"trust": "hardware"}, "image-trust-mismatch", id="other-trust"),
    ],
)
def test_nobody_is_asked_about_what_the_policy_denies(deployment, change, code: str) -> None:
    with pytest.raises(ConfidentialSparkError) as refusal:
        compare(replace(IMAGE, **change))
    assert (refusal.value.code, refusal.value.retryable) == (code, False)


def test_a_broken_ledger_stops_everything(deployment) -> None:
    record()
    deployment.ledger.write_bytes(deployment.ledger.read_bytes().replace(b"ada", b"eve"))
    record_it = RecordApprovalOperator(task_id="record", measured=measured(), decision=DECISION)
    append_it = replace(IMAGE, svn=3)
    deployment.ledger.write_bytes(deployment.ledger.read_bytes()[:-1])
    before = deployment.ledger.read_bytes()
    for attempt in (compare, lambda: compare(append_it), lambda: record_it.run(context())):
        with pytest.raises(ConfidentialSparkError, match="ledger-malformed"):
            attempt()
    assert deployment.ledger.read_bytes() == before


def test_an_approval_is_recorded_once(deployment) -> None:
    first = record()
    assert record() == first == {"approvals": 1, "head": read_ledger(deployment.ledger).head}
    [entry] = read_ledger(deployment.ledger).approvals
    assert (entry.approved_by, entry.git_revision, entry.image_digest) == ("ada", "0123abc", DIGEST)


def approve_task(approved: bool = False) -> ApproveMeasurementOperator:
    comparison = {"approved": approved, "by": "ada", "policy": "simulation-image", "approvals": 0}
    return ApproveMeasurementOperator(
        task_id="approve", measured=measured(), comparison=comparison, response_timeout=timedelta(hours=1)
    )


def answer(**change: Any) -> dict[str, Any]:
    return {
        "chosen_options": ["Approve"],
        "params_input": {},
        "responded_at": NOON,
        "responded_by_user": {"id": "7", "name": "Ada"},
        "timedout": False,
        **change,
    }


def test_an_approval_says_who_and_when() -> None:
    decision = approve_task().execute_complete(context(), answer())
    assert decision == {
        "approved_by": "Ada (7)",
        "approved_at": "2026-11-23T12:00:00Z",
        "requested_by": "grace",
        "rebuilt": False,
    }


@pytest.mark.parametrize("entered", [IMAGE.mrenclave, f" {IMAGE.mrenclave.upper()}\n"])
def test_an_approver_who_rebuilt_the_image_is_recorded(deployment, entered: str) -> None:
    decision = approve_task().execute_complete(context(), answer(params_input={REBUILT: entered}))
    assert decision["rebuilt"] is True
    task = RecordApprovalOperator(task_id="record", measured=measured(), decision=decision)
    task.run(context())
    [entry] = read_ledger(deployment.ledger).approvals
    assert (entry.rebuilt, entry.requested_by, entry.approved_by) == (True, "grace", "Ada (7)")


@pytest.mark.parametrize("entered", [None, "", "  "])
def test_an_approver_who_entered_nothing_has_not_rebuilt_it(entered) -> None:
    decision = approve_task().execute_complete(context(), answer(params_input={REBUILT: entered}))
    assert decision["rebuilt"] is False


SECOND = {"id": "8", "name": "Grace"}
BY_GRACE = answer(responded_by_user=SECOND)


@pytest.mark.parametrize(
    ("requester", "event", "code"),
    [
        pytest.param("grace", BY_GRACE, "approval-by-requester", id="by-name-in-other-letters"),
        pytest.param("8", BY_GRACE, "approval-by-requester", id="by-id"),
        pytest.param(None, BY_GRACE, "approval-requester-unknown", id="nobody-known"),
        pytest.param("root", BY_GRACE, "approval-requester-unknown", id="an-account-of-a-machine"),
        pytest.param("ada", BY_GRACE, None, id="another-person"),
        pytest.param(
            "Grace", answer(chosen_options=["Reject"], responded_by_user=SECOND), "rejected", id="no"
        ),
    ],
)
def test_a_second_person_may_be_required(deploy, requester, event, code) -> None:
    deploy(image_second_person="true", image_requesters="Ada, grace ,8,")
    given = context(requester)
    if code is None:
        assert approve_task().execute_complete(given, event)["requested_by"] == requester
        return
    with pytest.raises(AirflowFailException, match=code):
        approve_task().execute_complete(given, event)


@pytest.mark.parametrize(
    ("requester", "accounts"),
    [
        pytest.param(None, "ada", id="nobody-known"),
        pytest.param("root", "ada", id="command-line"),
        pytest.param("dag_test", "ada", id="dags-test"),
        pytest.param("ada", "", id="no-account-is-named"),
        pytest.param("ad", "ada", id="part-of-a-name"),
    ],
)
def test_nobody_is_asked_where_nobody_could_be_the_second_person(deploy, requester, accounts) -> None:
    deploy(image_second_person="true", image_requesters=accounts)
    with pytest.raises(AirflowFailException, match="CONFIDENTIAL_SPARK_IMAGE_REQUESTERS") as refusal:
        approve_task().execute(context(requester))
    assert "approval-requester-unknown" in str(refusal.value)


def test_without_a_second_person_nobody_needs_to_be_named(deploy) -> None:
    assert approve_task().execute_complete(context("root"), BY_GRACE)["requested_by"] == "root"


@pytest.mark.parametrize(
    ("event", "code"),
    [
        pytest.param(answer(chosen_options=["Reject"]), "approval-rejected", id="rejected"),
        pytest.param(answer(chosen_options=[]), "approval-rejected", id="nothing-chosen"),
        pytest.param(answer(chosen_options=["Approve", "Reject"]), "approval-rejected", id="both"),
        pytest.param(answer(responded_by_user=None), "approval-rejected", id="by-nobody"),
        pytest.param(
            answer(params_input={REBUILT: "09" * 32}), "approval-measurement-mismatch", id="other-build"
        ),
        pytest.param({"error": "time", "error_type": "timeout"}, "approval-timed-out", id="timed-out"),
        pytest.param({"error": "boom", "error_type": "unknown"}, "approval-failed", id="broken"),
    ],
)
def test_anything_else_fails_for_good(event, code: str) -> None:
    with pytest.raises(AirflowFailException, match=code):
        approve_task().execute_complete(context(), event)


def test_nobody_is_asked_twice() -> None:
    with pytest.raises(AirflowSkipException, match="ada"):
        approve_task(approved=True).execute(context())


def test_a_person_reads_what_they_approve(monkeypatch) -> None:
    asked = {}
    monkeypatch.setattr(
        "airflow.providers.standard.operators.hitl.upsert_hitl_detail", lambda **facts: asked.update(facts)
    )
    task = approve_task()
    with pytest.raises(TaskAwaitingInput):
        task.execute(context("ann`|\n eve") | {"task_instance": SimpleNamespace(id="1")})
    for fact in (IMAGE.mrenclave, IMAGE.mrsigner, DIGEST, "0123abc", "simulated", "ann eve"):
        assert fact in asked["body"]
    assert set(asked["params"]) == {REBUILT}
    assert asked["options"] == ["Approve", "Reject"]
    assert not asked["defaults"]


@pytest.mark.parametrize(
    ("user", "name"),
    [
        pytest.param({"id": "admin", "name": "admin"}, "admin", id="same"),
        pytest.param({"id": "7", "name": "Ada"}, "Ada (7)", id="both"),
        pytest.param({"id": "7", "name": ""}, "7", id="no-name"),
        pytest.param({"id": "7", "name": "x" * 999}, "x" * 256, id="too-long"),
        pytest.param(None, "nobody", id="nobody"),
    ],
)
def test_people_are_named_as_the_ledger_takes_it(user, name: str, tmp_path) -> None:
    assert person(user) == name
    append_approval(
        tmp_path / "ledger", new_approval(IMAGE, "0123abc", **DECISION | {"approved_by": person(user)})
    )


def publish() -> tuple[dict[str, Any], list[Any]]:
    task, given = PublishImageOperator(task_id="publish", measured=measured()), context()
    return task.run(given), given["outlet_events"].added


def test_an_approved_image_is_announced(deployment) -> None:
    record()
    value, events = publish()
    assert value == IMAGE.to_xcom()
    [(asset, extra)] = events
    assert (asset.name, extra) == ("enclave_image_simulated", IMAGE.to_xcom())


def test_an_image_that_nobody_approved_is_never_announced(deployment) -> None:
    given = context()
    with pytest.raises(PolicyError):
        PublishImageOperator(task_id="publish", measured=measured()).run(given)
    assert given["outlet_events"].added == []


def test_a_pushed_image_is_announced_by_its_digest(deployment, deploy, monkeypatch) -> None:
    record()
    repository = "registry.example/team/enclave"
    deploy(image_push_repository=repository)
    pushed = f"{repository}@sha256:{'cd' * 32}"
    store = SimpleNamespace(push=lambda *arguments: pushed)
    monkeypatch.setattr(PublishImageOperator, "store", lambda self, _: store)
    monkeypatch.setattr(PublishImageOperator, "build_log", FakeLog(), raising=False)
    value, [(_, extra)] = publish()
    assert (value["reference"], value["digest"]) == (pushed, f"sha256:{'cd' * 32}")
    assert extra == value


class FakeLog:
    def group(self, title: str):
        return nullcontext()
