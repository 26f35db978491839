"""A publication in Blob that is interrupted, raced, locked out or cut off is never half published."""

from __future__ import annotations

import json
import os
import threading
import time
import traceback
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from azure.core.credentials import AzureSasCredential
from azure.storage.blob import generate_container_sas
from confidential_spark.core.errors import ConfidentialSparkError, ResultError, VerificationError
from confidential_spark.core.months import Month
from confidential_spark.hooks.results import blob_lease
from confidential_spark.hooks.results.blob_folder import BlobFolder
from confidential_spark.hooks.results.blob_store import BlobStore
from confidential_spark.hooks.results.retention import Retention

from tests.azure.results.conftest import MAY, attempt_in, files_of, staged, write
from tests.support.azure.azurite import ACCOUNT, KEY, azurite
from tests.support.azure.results import CONTAINER, BlobPlace, Died, Faults
from tests.support.interrupted_calls import start_child

PAST = timedelta(seconds=-5)
DAG = "nytaxi_local"
SPARES_TRIES = Retention(replaced=PAST, tries=timedelta(days=7))
DEATHS = ("dies-before", "dies-after")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch) -> None:
    monkeypatch.setattr(blob_lease, "POLL_S", 0.05)
    monkeypatch.setattr(blob_lease, "WAIT_S", 1.0)


def store_of(place: BlobPlace, faults: Faults | None = None, credential: Any = KEY):
    return place.results(faults, credential).store(DAG)


def renamed(blobs: BlobPlace, number: object) -> BlobPlace:
    return BlobPlace(blobs.endpoint, f"{blobs.prefix}/{number}")


@pytest.mark.parametrize(
    ("kind", "first"),
    [
        pytest.param("dies-before", False, id="before-a-request-of-a-replacement"),
        pytest.param("dies-after", False, id="after-a-request-of-a-replacement"),
        pytest.param("dies-after", True, id="after-a-request-of-a-first-publication"),
    ],
)
def test_a_death_at_any_request_leaves_the_old_or_the_new_month(blobs, kind: str, first: bool) -> None:
    number, seen = 0, set()
    while True:
        number += 1
        place = renamed(blobs, number)
        store, faults = store_of(place), Faults(number, kind)
        if not first:
            store.publish(staged(store, "old.1"))
        staging = staged(store, "new.1")
        with suppress(Died):
            store_of(place, faults).publish(staging, grace=PAST)
        seen.add(attempt_in(store.current(MAY)))
        assert store.published_months() == ([Month(2018, 5)] if store.current(MAY) else [])

        place.expire_leases()
        store.publish(staging)
        assert attempt_in(store.current(MAY)) == "new.1"
        store.publish(staged(store, "later.1"), grace=PAST)
        store.sweep(Retention(PAST, PAST, PAST, PAST))
        left = {name.split("/")[3] for name in place.names() if "/.versions/" in name}
        assert (attempt_in(store.current(MAY)), left) == ("later.1", {"later.1"})
        assert not [name for name in place.names() if "/.staging/" in name]
        if faults.count < number:
            break
    assert number > 20
    assert seen == {None if first else "old.1", "new.1"}


def test_a_lost_answer_changes_nothing(blobs) -> None:
    """The client asks again, and meets what its own first request has done."""
    number, last = 0, 1
    while number < last:
        number += 1
        place = renamed(blobs, number)
        store, faults = store_of(place), Faults(number, "lost-answer")
        store.publish(staged(store, "old.1"))
        staging = staged(store, "new.1")
        store_of(place, faults).publish(staging, grace=PAST)
        assert attempt_in(store.current(MAY)) == "new.1"
        last = faults.count
    assert number > 20


@pytest.mark.parametrize("number", [1, 2, 5, 9, 14])
def test_a_network_that_is_away_is_named_and_retried(blobs, number: int) -> None:
    store = store_of(blobs)
    staging = staged(store, "new.1")
    with pytest.raises(ResultError, match="results-unreachable") as caught:
        store_of(blobs, Faults(number, "unsent")).publish(staging)
    assert caught.value.retryable
    blobs.expire_leases()
    assert attempt_in(store.publish(staging).version) == "new.1"


@pytest.mark.parametrize("kind", [*DEATHS, "lost-answer"])
def test_consuming_is_all_or_nothing(blobs, kind: str) -> None:
    for number in (1, 2, 3):
        place = renamed(blobs, number)
        with suppress(Died):
            store_of(place, Faults(number, kind)).consume_once("nonce", "value", "first")
        store_of(place).consume_once("nonce", "value", "first")
        with pytest.raises(VerificationError, match="used by first"):
            store_of(place).consume_once("nonce", "value", "second")


def test_one_of_many_concurrent_consumers_wins(blobs) -> None:
    consume = lambda name: store_of(blobs).consume_once("nonce", "n", name)  # noqa: E731
    consumers = [start_child(lambda name=name: consume(name)) for name in "abcdef"]
    statuses = [os.waitpid(consumer, 0)[1] for consumer in consumers]
    assert statuses.count(0) == 1


class TestRaces:
    def test_two_publishers_of_one_month_both_publish_and_the_last_stays(self, blobs) -> None:
        store = store_of(blobs)
        first, second = staged(store, "first.1"), staged(store, "second.1")

        def while_first_is_between_upload_and_commit(new, current) -> None:
            if current.name == "old.1":
                store_of(blobs).publish(second)

        store.publish(staged(store, "old.1"))
        store.publish(first, may_replace=while_first_is_between_upload_and_commit)
        current = store.current(MAY)
        assert attempt_in(current) == "first.1"
        assert [each.version for each in current.marker.replaced] == ["old.1", "second.1"]

    def test_a_publisher_judges_again_what_it_replaces(self, blobs) -> None:
        store, judged = store_of(blobs), []

        def judge(new, current) -> None:
            judged.append(current.name)
            if len(judged) == 1:
                store_of(blobs).publish(second)
            if current.name == "second.1":
                raise ResultError("not over this one", code="no")

        store.publish(staged(store, "old.1"))
        first, second = staged(store, "first.1"), staged(store, "second.1")
        with pytest.raises(ResultError, match="not over this one"):
            store.publish(first, may_replace=judge)
        assert (judged, attempt_in(store.current(MAY))) == (["old.1", "second.1"], "second.1")

    @pytest.mark.parametrize("first", [False, True])
    def test_a_sweep_in_the_middle_of_a_publication_takes_nothing_from_it(self, blobs, first: bool) -> None:
        """Each request of the publication in turn is followed by a sweep that spares nothing unpublished."""
        number, last = 0, 1
        while number < last:
            number += 1
            place = renamed(blobs, number)
            store = store_of(place)
            if not first:
                store.publish(staged(store, "old.1"))
            staging = staged(store, "new.1")
            faults = SweptAt(number, place)
            store_of(place, faults).publish(staging)
            assert attempt_in(store.current(MAY)) == "new.1"
            last = faults.count
        assert number > 20

    def test_concurrent_publishers_and_a_reader_never_see_a_mix(self, blobs) -> None:
        store = store_of(blobs)
        store.publish(staged(store, "start.1"))

        def publish_often(name: str) -> None:
            own = store_of(blobs)
            for number in range(8):
                own.publish(staged(own, f"{name}.{number}"))

        children = [start_child(lambda name=name: publish_often(name)) for name in ("a", "b")]
        seen, statuses = set(), {}
        while len(statuses) < len(children):
            seen.add(attempt_in(store.published(MAY)))
            for child in children:
                pid, status = os.waitpid(child, os.WNOHANG) if child not in statuses else (0, 0)
                if pid:
                    statuses[child] = status
        assert set(statuses.values()) == {0}
        assert len(seen) > 3
        assert attempt_in(store.published(MAY)).endswith(".7")


class SweptAt(Faults):
    """Sweeps after one request."""

    def __init__(self, at: int, place: BlobPlace) -> None:
        super().__init__(at)
        self.place = place

    def send(self, request: Any, **kwargs: Any) -> Any:
        response = super().send(request, **kwargs)
        if self.count == self.at:
            store_of(self.place).sweep(SPARES_TRIES)
        return response


class StoppedAtTheMarker(Faults):
    """Stops the process right before its commit, for so long that a sweep takes it for dead."""

    def __init__(self, place: BlobPlace) -> None:
        super().__init__()
        self.place = place
        self.swept: list[str] = []

    def send(self, request: Any, **kwargs: Any) -> Any:
        if request.method == "PUT" and urlsplit(request.url).path.endswith(f"/{DAG}/{quote(MAY)}.json"):
            self.place.expire_leases()
            self.swept += store_of(self.place).sweep(SPARES_TRIES)
        return super().send(request, **kwargs)


def versions_of(place: BlobPlace) -> set[str]:
    return {name.split("/")[3] for name in place.names() if "/.versions/" in name}


class TestNeverPublished:
    """A month whose first publisher died before any marker."""

    def test_what_a_dead_publisher_left_goes_after_the_grace_time(self, blobs) -> None:
        left: set[str] = set()
        for number in count(1):
            place = renamed(blobs, number)
            store = store_of(place)
            staging = staged(store, "killed.1")
            with suppress(Died):
                store_of(place, Faults(number, "dies-after")).publish(staging)
            if store.current(MAY) is not None:
                break
            left |= versions_of(place)
            place.expire_leases()
            before = place.names()
            assert store.sweep(Retention()) == []
            assert place.names() == before
            told = store.stale(SPARES_TRIES)
            assert store.sweep(SPARES_TRIES) == told
            assert (versions_of(place), store.is_staged(staging)) == (set(), True)
            assert attempt_in(store.publish(staging).version) == "killed.1"
        assert number > 10
        assert left == {"killed.1"}

    def test_a_version_whose_try_is_gone_goes(self, blobs) -> None:
        store = store_of(blobs)
        blobs.write(f"{DAG}/.versions/{MAY}/killed.1/summary.json", b"{}")
        assert store.sweep(SPARES_TRIES) == [f"{blobs.url}/{DAG}/.versions/{MAY}/killed.1"]
        assert versions_of(blobs) == set()

    def test_a_publisher_that_is_at_work_is_spared(self, blobs) -> None:
        store = store_of(blobs)
        staging = staged(store, "slow.1")
        blobs.write(f"{DAG}/.versions/{MAY}/slow.1/summary.json", b"{}")
        with store.hold(staging):
            assert store_of(blobs).sweep(SPARES_TRIES) == []
            assert versions_of(blobs) == {"slow.1"}

    def test_one_that_was_stopped_in_its_commit_publishes_a_whole_month(self, blobs) -> None:
        store, stopped = store_of(blobs), StoppedAtTheMarker(blobs)
        staging = staged(store, "stopped.1")
        version = store_of(blobs, stopped).publish(staging).version
        assert stopped.swept == [f"{blobs.url}/{DAG}/.versions/{MAY}/stopped.1"]
        assert attempt_in(version) == "stopped.1"
        assert attempt_in(store.current(MAY)) == "stopped.1"


class TestLeases:
    def test_a_lost_lease_keeps_nothing_of_the_block(self, blobs) -> None:
        store = store_of(blobs)
        staging = staged(store, "run.1")

        def work() -> None:
            with store.hold(staging) as folder:
                write(folder, {"summary.json": b"{}"})
                blobs.expire_leases()
                with store_of(blobs).hold(staging) as other:
                    write(other, {"new": b"1"})

        with pytest.raises(ResultError, match="results-lease-lost") as caught:
            work()
        assert caught.value.retryable
        with store.hold(staging) as folder:
            assert (folder / "summary.json").read_bytes() == files_of("run.1")["summary.json"]
            assert (folder / "new").exists()

    def test_a_publisher_that_lost_its_lease_commits_nothing(self, blobs) -> None:
        store = store_of(blobs)
        store.publish(staged(store, "old.1"))
        staging = staged(store, "run.1")
        with pytest.raises(ResultError, match="results-lease-lost"):
            store.publish(staging, may_replace=lambda new, current: blobs.expire_leases())
        assert attempt_in(store.current(MAY)) == "old.1"

    def test_who_waits_for_too_long_is_told(self, blobs) -> None:
        store = store_of(blobs)
        staging = staged(store, "run.1")
        with store.hold(staging):
            with pytest.raises(ResultError, match="results-locked") as caught:
                store_of(blobs).publish(staging)
            assert caught.value.retryable
            assert store.tries(MAY, "run") == [staging]
        store.publish(staging)

    def test_a_lease_is_renewed_while_it_is_held(self, blobs, monkeypatch) -> None:
        renewed = threading.Event()

        def renew(self, name: str, lease: str) -> bool:
            renewed.set()
            return original(self, name, lease)

        original = BlobFolder.renew
        monkeypatch.setattr(BlobFolder, "renew", renew)
        monkeypatch.setattr(blob_lease, "RENEWAL_S", 0.05)
        store = store_of(blobs)
        staging = store.stage(MAY, "run.1")
        with store.hold(staging):
            assert renewed.wait(30)

    def test_a_publisher_that_waited_finds_its_try_published(self, blobs, monkeypatch) -> None:
        """A worker that was thought dead publishes while the next try of its task waits for the lease."""
        store = store_of(blobs)
        staging = staged(store, "run.1")

        def while_the_first_is_publishing(seconds: float) -> None:
            publishing.set()
            first.join()

        def publish_first() -> None:
            may_replace = lambda new, current: waited.set() or publishing.wait(30)  # noqa: E731
            store_of(blobs).publish(staging, may_replace=may_replace)

        store.publish(staged(store, "old.1"))
        publishing, waited = threading.Event(), threading.Event()
        first = threading.Thread(target=publish_first)
        first.start()
        assert waited.wait(30)
        clock = SimpleNamespace(monotonic=time.monotonic, sleep=while_the_first_is_publishing)
        monkeypatch.setattr(blob_lease, "time", clock)
        assert attempt_in(store.publish(staging).version) == "run.1"


class TestForeignBlobs:
    def test_a_prefix_that_is_not_empty_is_left_alone(self, blobs) -> None:
        foreign = [
            "mine.txt",
            f"{DAG}/notes",
            f"{DAG}/.versions/{MAY}/run.1/extra",
            f"{DAG}/month=garbage.json",
        ]
        for name in foreign:
            blobs.write(name, b"mine")
        store = store_of(blobs)
        version = store.publish(staged(store, "run.1")).version
        assert attempt_in(version) == "run.1"
        with pytest.raises(OSError, match="extra"):
            version.content("extra")
        blobs.results().sweep(Retention(PAST, PAST, PAST, PAST))
        assert set(foreign) <= set(blobs.names())
        assert store.published_months() == [Month(2018, 5)]

    @pytest.mark.parametrize("name", ["a//b", "a\tb", "tables"])
    def test_names_that_no_file_can_have_are_refused(self, blobs, name: str) -> None:
        store = store_of(blobs)
        staging = staged(store, "run.1")
        blobs.write(f"{DAG}/.staging/{MAY}/run.1/{name}", b"planted")
        with pytest.raises(ResultError, match="results-unusable"):
            store.publish(staging)
        assert store.current(MAY) is None

    def test_markers_of_folders_are_no_files(self, blobs) -> None:
        store = store_of(blobs)
        staging = staged(store, "run.1")
        blobs.folder().write(f"{DAG}/.staging/{MAY}/run.1/tables", b"", metadata={"hdi_isfolder": "true"})
        version = store.publish(staging).version
        assert version.marker.files.keys() == files_of("run.1").keys()
        assert not [name for name in blobs.names() if ".staging" in name]

    @pytest.mark.parametrize(
        "content",
        [
            pytest.param(b"", id="empty"),
            pytest.param(b'{"attempt": "run.2"}', id="another"),
        ],
    )
    def test_an_altered_file_is_named(self, blobs, content: bytes) -> None:
        store = store_of(blobs)
        version = store.publish(staged(store, "run.1")).version
        blobs.write(f"{DAG}/.versions/{MAY}/run.1/summary.json", content)
        with pytest.raises(ResultError, match="results-altered"):
            version.content("summary.json")
        assert store.trailing_summaries(Month(2018, 6), 3) == []


def sas(start: timedelta, end: timedelta, permission: str = "racwdl") -> str:
    now = datetime.now(UTC)
    return generate_container_sas(
        ACCOUNT, CONTAINER, account_key=KEY, permission=permission, start=now + start, expiry=now + end
    )


HOUR = timedelta(hours=1)


class TestCredentials:
    def test_a_network_error_that_quotes_the_address_is_named_without_it(self, blobs) -> None:
        token = sas(-HOUR, HOUR)
        store = store_of(blobs, Faults(1, "unsent"), AzureSasCredential(token))
        with pytest.raises(ResultError, match="results-unreachable") as caught:
            store.stage(MAY, "run.1")
        require_secretless(caught.value, token)

    def test_a_sas_for_the_container_is_enough(self, blobs) -> None:
        store = store_of(blobs, credential=AzureSasCredential(sas(-HOUR, HOUR)))
        store.publish(staged(store, "run.1"), grace=PAST)
        assert attempt_in(store.published(MAY)) == "run.1"
        assert blobs.results().sweep(Retention()) == []

    @pytest.mark.parametrize(
        ("start", "end", "permission"),
        [
            pytest.param(-2 * HOUR, -HOUR, "racwdl", id="expired"),
            pytest.param(HOUR, 2 * HOUR, "racwdl", id="not-yet-valid"),
            pytest.param(-HOUR, HOUR, "rl", id="read-only"),
        ],
    )
    def test_one_that_does_not_allow_it_is_named_without_itself(
        self, blobs, start: timedelta, end: timedelta, permission: str
    ) -> None:
        good = store_of(blobs)
        good.publish(staged(good, "old.1"))
        staging, token = staged(good, "run.1"), sas(start, end, permission)
        store = store_of(blobs, credential=AzureSasCredential(token))
        with pytest.raises(ResultError, match="results-forbidden") as caught:
            store.publish(staging)
        assert not caught.value.retryable
        require_secretless(caught.value, token)
        assert attempt_in(good.published(MAY)) == "old.1"

    def test_a_container_that_is_missing_is_named(self, storage) -> None:
        place = BlobPlace(storage.endpoint, "p")
        container = storage.client().get_container_client("absent")
        store = BlobStore(BlobFolder(container, "p/", place.url), DAG)
        with pytest.raises(ConfidentialSparkError, match="results-container-missing"):
            store.stage(MAY, "run.1")


def require_secretless(error: BaseException, token: str) -> None:
    """Nothing that a log shows of an error has the token's signature."""
    signature = token.partition("sig=")[2]
    assert signature
    assert signature not in "".join(traceback.format_exception(error))


def test_an_account_that_dies_in_the_middle_is_named(tmp_path) -> None:
    with azurite(tmp_path) as emulator:
        emulator.client().create_container(CONTAINER)
        place = BlobPlace(emulator.endpoint, "p")
        token = sas(-HOUR, HOUR)
        store = store_of(place, credential=AzureSasCredential(token))
        store.publish(staged(store, "old.1"))
        staging = staged(store, "run.1")
        with pytest.raises(ResultError, match="results-unreachable") as caught:
            store.publish(staging, may_replace=lambda new, current: emulator.kill())
        assert caught.value.retryable
        require_secretless(caught.value, token)
    with pytest.raises(ResultError, match="results-unreachable"):
        store.current(MAY)


def test_the_marker_says_what_a_foreign_reader_needs(blobs) -> None:
    store = store_of(blobs)
    store.publish(staged(store, "run.1"))
    content, _ = blobs.folder().read(f"{DAG}/{MAY}.json", 10**6)
    marker = json.loads(content)
    assert (marker["v"], marker["key"], marker["version"]) == (1, MAY, "run.1")
    assert marker["files"].keys() == files_of("run.1").keys()
