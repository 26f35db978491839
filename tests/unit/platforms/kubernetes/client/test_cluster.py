"""`Cluster` against a scripted client: what is asked again, what is believed, and how a log is read."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from confidential_spark.core.errors import EnclaveError
from confidential_spark.platforms.kubernetes.client import cluster as kubernetes_cluster
from confidential_spark.platforms.kubernetes.client.cluster import Cluster
from kubernetes.client.exceptions import ApiException

if TYPE_CHECKING:
    from collections.abc import Callable

ONE = "2026-01-01T00:00:00.000000000Z one\n"
TWO = "2026-01-01T00:00:01.000000000Z two\n"
LOST = "unable to retrieve container logs for containerd://0badcafe"
POD = {"metadata": {"name": "p"}}
TAKEN = 'pods "p" already exists'
NO_RIGHT = 'pods "p" is forbidden: User "u" cannot create resource "pods"'


@pytest.fixture(autouse=True)
def _in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clock run with every pause and every look at it."""
    now = iter(range(10**6))
    monkeypatch.setattr(
        kubernetes_cluster, "time", SimpleNamespace(sleep=lambda _: None, monotonic=lambda: next(now))
    )


def refusal(status: int, message: str = "words", reason: str = "") -> ApiException:
    error = ApiException(status=status, reason="reason")
    error.body = json.dumps({"message": message, "reason": reason})
    return error


class Client:
    """Answers each method with the next thing it was given; an exception is raised."""

    def __init__(self, **answers: list[Any]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def answer(*_: Any, **__: Any) -> Any:
            self.asked.append(method)
            given = self.answers[method].pop(0)
            if isinstance(given, Exception):
                raise given
            return given

        return answer


def cluster_of(client: Client, patience: float = 50) -> Cluster:
    return Cluster(lambda: client, "namespace", patience=patience)  # type: ignore[arg-type, return-value]


def answer(text: str) -> Any:
    return SimpleNamespace(data=text.encode())


def lines_of(*answers: Any, after: str = "", patient: bool = False) -> list[str]:
    given = [answer(each) if isinstance(each, str) else each for each in answers]
    cluster = cluster_of(Client(read_namespaced_pod_log=given))
    return [line for _, line in cluster.lines("p", "c", after=after, within=None, patient=patient)]


def test_what_has_no_stamp_is_no_line_of_the_container() -> None:
    assert lines_of(ONE + LOST + "\n" + TWO) == ["one", "two"]


def test_a_lost_log_is_asked_for_again() -> None:
    assert lines_of(LOST, LOST + "\n", ONE, patient=True) == ["one"]


@pytest.mark.parametrize("patient", [False, True])
def test_a_log_that_stays_lost_is_not_an_empty_one(patient) -> None:
    with pytest.raises(EnclaveError) as refused:
        lines_of(*[LOST + "\n"] * 99, patient=patient)
    assert refused.value.code == "kubernetes-unreachable"


def test_an_empty_log_is_one() -> None:
    assert lines_of("") == lines_of("", patient=True) == []


@pytest.mark.parametrize(
    ("stamp", "utc"),
    [
        ("2026-10-25T02:59:59.000000001+02:00", "2026-10-25T00:59:59.000000001Z"),
        ("2026-10-25T02:00:01.000000000+01:00", "2026-10-25T01:00:01.000000000Z"),
        ("2026-01-01T00:00:00.5Z", "2026-01-01T00:00:00.500000000Z"),
        ("2025-12-31T19:30:00-05:00", "2026-01-01T00:30:00.000000000Z"),
    ],
)
def test_stamps_are_in_utc_and_of_one_width(stamp, utc) -> None:
    cluster = cluster_of(Client(read_namespaced_pod_log=[answer(f"{stamp} text\n")]))
    assert list(cluster.lines("p", "c", after="", within=None)) == [(utc, "text")]


def test_the_hour_that_comes_twice_loses_no_line() -> None:
    before, after = "2026-10-25T02:59:59.000000000+02:00 one\n", "2026-10-25T02:00:01.000000000+01:00 two\n"
    assert lines_of(before + after, after="2026-10-25T00:59:59.000000000Z") == ["two"]


def test_a_line_that_is_being_written_is_left_for_later() -> None:
    half = "2026-01-01T00:00:01.000000000Z tw"
    assert lines_of(ONE + half) == ["one"]
    # Of a container that has ended, nothing more will come.
    assert lines_of(ONE + half, patient=True) == ["one", "tw"]


def test_a_token_that_ends_between_two_looks_at_a_log_is_renewed() -> None:
    assert lines_of(refusal(401, "Unauthorized"), ONE) == ["one"]


def test_an_impatient_look_waits_for_nobody() -> None:
    with pytest.raises(EnclaveError):
        lines_of(refusal(503), ONE)


def test_a_log_of_an_ended_container_is_waited_for() -> None:
    assert lines_of(*[refusal(503)] * 12, ONE, patient=True) == ["one"]


def made(uid: str, *, leaving: bool = False) -> Any:
    deleted = datetime.now(UTC) if leaving else None
    return SimpleNamespace(metadata=SimpleNamespace(uid=uid, deletion_timestamp=deleted))


@pytest.mark.parametrize(
    ("created", "read"),
    [
        pytest.param([made("a")], [], id="new"),
        pytest.param([refusal(409, "Operation cannot be fulfilled", "Conflict"), made("a")], [], id="quota"),
        pytest.param([refusal(409, TAKEN, "AlreadyExists")], [made("a")], id="there-already"),
        pytest.param(
            [refusal(409, f"object is being deleted: {TAKEN}", "AlreadyExists")] * 2 + [made("a")],
            [made("before", leaving=True)] * 2,
            id="on-its-way-out",
        ),
        pytest.param(
            [refusal(409, TAKEN, "AlreadyExists"), made("a")], [refusal(404)], id="gone-between-two-requests"
        ),
        pytest.param([refusal(500, "failed calling webhook"), made("a")], [], id="webhook"),
        pytest.param([refusal(403, "forbidden: not yet ready to handle request"), made("a")], [], id="start"),
        pytest.param([refusal(503), refusal(403, NO_RIGHT), made("a")], [], id="rights-not-read-yet"),
    ],
)
def test_a_pod_is_made_once(created, read) -> None:
    client = Client(create_namespaced_pod=list(created), read_namespaced_pod=list(read))
    assert cluster_of(client).create_pod(POD) == "a"
    assert client.answers == {"create_namespaced_pod": [], "read_namespaced_pod": []}


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (403, NO_RIGHT, "pod-forbidden"),
        (403, 'pods "p" is forbidden: exceeded quota: enclaves', "quota-exceeded"),
        (422, "spec.x: Invalid value", "kubernetes-refused"),
    ],
)
def test_a_refusal_is_not_waited_for(status, message, code) -> None:
    client = Client(create_namespaced_pod=[refusal(status, message)])
    with pytest.raises(EnclaveError) as refused:
        cluster_of(client).create_pod(POD)
    assert refused.value.code == code


def test_an_earlier_pod_that_does_not_go_is_named() -> None:
    taken = [refusal(409, f"object is being deleted: {TAKEN}", "AlreadyExists")] * 99
    client = Client(create_namespaced_pod=taken, read_namespaced_pod=[made("before", leaving=True)] * 99)
    with pytest.raises(EnclaveError) as refused:
        cluster_of(client).create_pod(POD)
    assert (refused.value.code, refused.value.retryable) == ("pod-lost", True)


@pytest.mark.parametrize(
    "created",
    [
        pytest.param([None], id="new"),
        pytest.param([refusal(409, 'secrets "s" already exists', "AlreadyExists")], id="there-already"),
        pytest.param([refusal(409, "Operation cannot be fulfilled", "Conflict"), None], id="quota"),
        pytest.param(
            [refusal(409, 'object is being deleted: secrets "s" already exists', "AlreadyExists"), None],
            id="on-its-way-out",
        ),
    ],
)
def test_a_secret_is_made_once(created) -> None:
    client = Client(create_namespaced_secret=list(created))
    cluster_of(client).create_secret({})
    assert client.answers == {"create_namespaced_secret": []}


def event(reason: str, kind: str = "Warning") -> Any:
    return SimpleNamespace(reason=reason, message="words", type=kind)


@pytest.mark.parametrize(
    ("events", "said"),
    [
        pytest.param([event("FailedScheduling")], ["FailedScheduling: words"], id="no-node"),
        pytest.param([event("FailedScheduling"), event("Scheduled", "Normal")], [], id="found-a-node"),
        pytest.param(
            [event("FailedScheduling"), event("Scheduled", "Normal"), event("FailedMount")],
            ["FailedMount: words"],
            id="no-volume",
        ),
        pytest.param(
            [event("FailedMount"), event("Scheduled", "Normal"), event("Pulling", "Normal")],
            [],
            id="pulls-its-image",
        ),
        pytest.param(
            [event("Pulling", "Normal"), event("Failed")], ["Failed: words"], id="cannot-pull-its-image"
        ),
    ],
)
def test_what_a_pod_has_got_over_is_no_warning(events, said) -> None:
    client = Client(list_namespaced_event=[SimpleNamespace(items=events)])
    assert cluster_of(client).warnings("p") == said


@pytest.mark.parametrize("seconds_fast", [0, 16 * 60, -16 * 60])
def test_a_pod_is_as_old_as_the_api_says(seconds_fast) -> None:
    api_now = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=seconds_fast)
    metadata = SimpleNamespace(
        name="p",
        uid="u",
        deletion_timestamp=None,
        labels={},
        annotations=None,
        creation_timestamp=api_now - timedelta(seconds=30),
    )
    status = dict.fromkeys(
        ("phase", "reason", "message", "conditions", "init_container_statuses", "container_statuses")
    )
    pod = SimpleNamespace(metadata=metadata, status=SimpleNamespace(**status))
    headers = {"Date": format_datetime(api_now, usegmt=True)}
    client = Client(
        read_namespaced_pod_with_http_info=[(pod, 200, headers)],
        list_namespaced_pod_with_http_info=[(SimpleNamespace(items=[pod]), 200, headers)],
    )
    cluster = cluster_of(client)
    (listed,), found = cluster.pods("a=b", "c"), cluster.find("p", "c")
    assert found is not None
    assert listed.age == found.age == 30
