"""What the API and the kubelet say, as names of the failure table."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from confidential_spark.core.errors import EnclaveError
from confidential_spark.core.failures import Diagnosis, LogWatcher, classify
from confidential_spark.platforms.kubernetes.client.failures import (
    api_error,
    attribute_to_executors,
    kubernetes_failures,
    pod_diagnosis,
)
from confidential_spark.platforms.kubernetes.client.pods import PodState
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import MaxRetryError


def refusal(status: int, message: str = "words", reason: str = "") -> ApiException:
    error = ApiException(status=status, reason="reason")
    error.body = json.dumps({"kind": "Status", "message": message, "reason": reason})
    return error


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        *(
            pytest.param(refusal(status), "kubernetes-unreachable", True, id=str(status))
            for status in (0, 429, 500, 503, 504)
        ),
        pytest.param(refusal(401, "Unauthorized"), "kubernetes-unauthorized", True, id="401"),
        pytest.param(
            refusal(403, 'pods "p" is forbidden: not yet ready to handle request'),
            "kubernetes-unreachable",
            True,
            id="starting-server",
        ),
        pytest.param(
            refusal(409, 'Operation cannot be fulfilled on resourcequotas "enclaves"', "Conflict"),
            "kubernetes-unreachable",
            True,
            id="conflict",
        ),
        pytest.param(
            refusal(409, 'object is being deleted: pods "p" already exists', "AlreadyExists"),
            "kubernetes-unreachable",
            True,
            id="on-its-way-out",
        ),
        pytest.param(
            refusal(409, 'pods "p" already exists', "AlreadyExists"),
            "kubernetes-refused",
            False,
            id="already-there",
        ),
        pytest.param(
            refusal(403, 'pods "p" is forbidden: a plugin that nobody knows'),
            "kubernetes-refused",
            False,
            id="forbidden-by-whom",
        ),
        pytest.param(
            refusal(500, 'Internal error occurred: failed calling webhook "v.x": failed to call webhook'),
            "webhook-failing",
            True,
            id="webhook",
        ),
        pytest.param(
            refusal(500, 'Internal error occurred: admission webhook "v.x" denied the request'),
            "kubernetes-unreachable",
            True,
            id="no-refusal-in-a-500",
        ),
        pytest.param(
            refusal(403, 'pods is forbidden: User "x" cannot create resource "pods"'),
            "pod-forbidden",
            False,
            id="rights",
        ),
        pytest.param(
            refusal(403, 'pods "p" is forbidden: exceeded quota: enclaves'),
            "quota-exceeded",
            True,
            id="quota",
        ),
        pytest.param(
            refusal(403, 'pods "p" is forbidden: violates PodSecurity "restricted:latest"'),
            "pod-security-refused",
            False,
            id="security",
        ),
        pytest.param(
            refusal(404, 'namespaces "x" not found'), "kubernetes-refused", False, id="no-namespace"
        ),
        pytest.param(refusal(422, "spec.x: Invalid value"), "kubernetes-refused", False, id="invalid"),
        pytest.param(
            MaxRetryError(None, "/api", "refused"), "kubernetes-unreachable", True, id="no-connection"
        ),
        pytest.param(ConnectionResetError("reset"), "kubernetes-unreachable", True, id="reset"),
    ],
)
def test_every_refusal_has_a_name(error: Exception, code: str, retryable: bool) -> None:
    named = api_error(error)
    assert (named.code, named.retryable) == (code, retryable)


@pytest.mark.parametrize("body", [b"not JSON", "[]", "null", ""])
def test_an_answer_that_is_no_status_is_shown_as_it_is(body) -> None:
    error = ApiException(status=422, reason="Unprocessable")
    error.body = body
    assert api_error(error).code == "kubernetes-refused"


def test_a_defect_of_ours_is_not_taken_for_the_api() -> None:
    with pytest.raises(KeyError), kubernetes_failures():
        raise KeyError("a defect")
    with pytest.raises(EnclaveError), kubernetes_failures():
        raise refusal(503)


def state(**fields: Any) -> PodState:
    return PodState(**{"name": "p", "uid": "u", "phase": "Failed", **fields})


@pytest.mark.parametrize(
    ("end", "code"),
    [
        pytest.param(
            state(reason="Evicted", message="The node was low on memory"), "pod-evicted", id="evicted"
        ),
        pytest.param(
            state(reason="DeadlineExceeded", message="Pod was active on the node longer", exit_code=143),
            "deadline-exceeded",
            id="deadline",
        ),
        pytest.param(
            state(exit_code=137, ended_reason="OOMKilled"), "killed-out-of-memory", id="out-of-memory"
        ),
        pytest.param(state(exit_code=137, ended_reason="Error"), "killed-from-outside", id="kill-9"),
        pytest.param(
            state(exit_code=71, ended_message="[peer-measurement] The other enclave is another program."),
            "peer-measurement",
            id="termination-message",
        ),
        pytest.param(state(exit_code=143), "terminated", id="term"),
        pytest.param(
            state(
                reason="Terminated",
                message="Pod was terminated in response to imminent node shutdown.",
                exit_code=137,
                ended_reason="Error",
            ),
            "pod-evicted",
            id="node-shutdown",
        ),
        pytest.param(
            state(reason="OutOfcpu", message="Pod was rejected: Node didn't have enough resource: cpu"),
            "pod-rejected",
            id="rejected-by-the-node",
        ),
    ],
)
def test_every_end_has_a_name(end: PodState, code: str) -> None:
    diagnosis = pod_diagnosis(end, LogWatcher())
    assert diagnosis is not None
    assert diagnosis.failure.name == code


def test_exit_code_0_is_no_failure() -> None:
    assert pod_diagnosis(state(phase="Succeeded", exit_code=0), LogWatcher()) is None


def pod(**status: Any) -> Any:
    empty = dict.fromkeys(
        ("phase", "reason", "message", "container_statuses", "init_container_statuses", "conditions")
    )
    metadata = SimpleNamespace(
        name="p",
        uid="u",
        deletion_timestamp=None,
        labels={},
        annotations=None,
        creation_timestamp=datetime.now(UTC) - timedelta(minutes=3),
    )
    return SimpleNamespace(metadata=metadata, status=SimpleNamespace(**{**empty, **status}))


def container(**kinds: Any) -> Any:
    state = SimpleNamespace(**{**dict.fromkeys(("waiting", "running", "terminated")), **kinds})
    return SimpleNamespace(name="enclave", state=state)


@pytest.mark.parametrize(
    ("status", "obstacle", "overdue"),
    [
        pytest.param({"phase": "Pending"}, "", False, id="nothing-said-yet"),
        pytest.param(
            {
                "container_statuses": [
                    container(waiting=SimpleNamespace(reason="ContainerCreating", message=""))
                ]
            },
            "",
            False,
            id="creating",
        ),
        pytest.param(
            {
                "container_statuses": [
                    container(waiting=SimpleNamespace(reason="ErrImagePull", message="gone"))
                ]
            },
            "ErrImagePull: gone",
            True,
            id="image",
        ),
        pytest.param(
            {
                "conditions": [
                    SimpleNamespace(type="PodScheduled", status="False", message="0/1 nodes", reason="x")
                ]
            },
            "FailedScheduling: 0/1 nodes",
            False,
            id="unschedulable",
        ),
        pytest.param({"container_statuses": [container(running=object())]}, "", False, id="running"),
    ],
)
def test_what_keeps_a_pod_from_starting(status: Any, obstacle: str, overdue: bool) -> None:
    found = PodState.of(pod(**status), "enclave")
    # Three minutes old: too old for an image that cannot be pulled, not for a node that is being made.
    assert (found.obstacle, found.is_overdue(900)) == (obstacle, overdue)
    assert found.is_overdue(60) is not found.running


def test_a_pod_without_statuses_has_not_ended() -> None:
    assert not PodState.of(pod(phase="Pending"), "enclave").ended
    assert PodState.of(pod(phase="Failed", reason="Evicted"), "enclave").ended


def ended(line: str, exit_code: int | None = None) -> Diagnosis:
    return classify([line], exit_code)


GIVEN_UP = ended("Max number of executor failures (4) reached", 80)


@pytest.mark.parametrize(
    ("driver", "executors", "name"),
    [
        pytest.param(GIVEN_UP, [], "spark-executors-failed", id="nobody-said-anything"),
        pytest.param(GIVEN_UP, [ended("x", 1)], "spark-executors-failed", id="without-a-name"),
        pytest.param(GIVEN_UP, [ended("x", 75)], "attestation-unreachable", id="passing"),
        pytest.param(GIVEN_UP, [ended("x", 75), ended("x", 71)], "attestation-refused", id="refused"),
        pytest.param(ended("x", 80), [ended("Evicted: x")], "spark-failed", id="driver-s-own-end"),
    ],
)
def test_executors_decide_where_spark_has_given_them_up(driver, executors, name) -> None:
    assert attribute_to_executors(driver, executors).failure.name == name


def test_the_driver_s_words_stay_below_those_of_its_executors() -> None:
    blamed = attribute_to_executors(GIVEN_UP, [ended("x", 71)])
    assert [seen.failure.name for seen in blamed.also_seen] == ["spark-executors-failed", "spark-failed"]
    assert blamed.exit_code == 80
