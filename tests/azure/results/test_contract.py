"""What both stores promise: a local folder and Azure Blob Storage."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

import pytest
from confidential_spark.core.errors import ConfigurationError, InputError, ResultError, VerificationError
from confidential_spark.core.months import Month
from confidential_spark.hooks.results.retention import Retention
from confidential_spark.hooks.results.store import KEPT_REFUSED

from tests.azure.results.conftest import MAY, attempt_in, files_of, staged, write

PAST = timedelta(seconds=-5)  # older than everything, whatever the resolution of the store's clock
MONTHS = ("2017-11", "2018-02", "2018-03", "2018-05", "2018-06")


def test_publishes_a_month(store) -> None:
    assert attempt_in(store.publish(staged(store, "run.1")).version) == "run.1"
    assert attempt_in(store.published(MAY)) == "run.1"
    assert store.published_months() == [Month(2018, 5)]


def test_a_publication_is_repeated_without_effect(store) -> None:
    staging = staged(store, "run.1")
    first = store.publish(staging)
    again = store.publish(staging)
    assert (again.place, again.version.location) == (first.place, first.version.location)
    assert attempt_in(store.published(MAY)) == "run.1"


def test_a_replaced_version_stays_for_who_resolved_it(store) -> None:
    store.publish(staged(store, "run.1"))
    version = store.published(MAY)
    store.publish(staged(store, "run.2"))
    assert attempt_in(store.published(MAY)) == "run.2"
    assert attempt_in(version) == "run.1"


def test_a_replaced_version_goes_after_the_grace_period(place, store) -> None:
    store.publish(staged(store, "run.1"))
    store.publish(staged(store, "run.2"), grace=PAST)
    assert not [name for name in place.names() if "run.1" in name]
    assert attempt_in(store.published(MAY)) == "run.2"


def test_runs_are_published_beside_months(store) -> None:
    for attempt, key in (("a.1", "run=manual-1"), ("b.1", "month=2018-06"), ("c.1", MAY)):
        store.publish(staged(store, attempt, key))
    assert store.published_months() == [Month(2018, 5), Month(2018, 6)]
    assert store.read_summary("run=manual-1") == {"attempt": "a.1"}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param({"evidence_json": None}, "results-incomplete", id="file-missing"),
        pytest.param({"summary_json": b""}, "results-incomplete", id="file-empty"),
        pytest.param({"summary_json": b"[1]"}, "results-incomplete", id="not-an-object"),
        pytest.param({"report_json": b"[" * 100_000}, "results-incomplete", id="nested"),
        pytest.param({"other_parquet": b"unlisted"}, "result-unlisted", id="unlisted"),
        pytest.param({"tables/by hour+%41 é.parquet": b"other"}, "result-digest-mismatch", id="changed"),
    ],
)
def test_what_is_not_the_verified_result_is_not_published(store, change: dict[str, Any], code: str) -> None:
    store.publish(staged(store, "run.1"))
    staging = staged(store, "run.2", **change)
    names = ("summary.json", "tables/by hour+%41 é.parquet")
    digests = {name: hashlib.sha256(files_of("run.2")[name]).hexdigest() for name in names}
    with pytest.raises((ResultError, VerificationError), match=code):
        store.publish(staging, digests)
    assert attempt_in(store.published(MAY)) == "run.1"
    assert store.is_staged(staging)


def test_what_may_not_be_replaced_is_not(store) -> None:
    def refuse(new, current) -> None:
        raise InputError(f"{new.json_object('summary.json')} over {current.summary()}", code="no")

    store.publish(staged(store, "run.1"), may_replace=refuse)
    with pytest.raises(InputError, match=r"run\.2.* over .*run\.1"):
        store.publish(staged(store, "run.2"), may_replace=refuse)
    assert attempt_in(store.published(MAY)) == "run.1"


def test_foreign_things_are_not_replaced(place, store) -> None:
    staging = staged(store, "run.1")
    place.write(f"nytaxi_local/{MAY}{place.marker_ending}", b'"mine"')
    with pytest.raises(ResultError, match="results-obstructed"):
        store.publish(staging)
    assert store.is_staged(staging)


class TestTries:
    def test_a_new_try_removes_the_dead_tries_of_its_run(self, store) -> None:
        first, scheduled = staged(store, "manual.1"), staged(store, "scheduled.1")
        other_month = staged(store, "manual.1", "month=2018-06")
        store.stage(MAY, "manual.2")
        assert [store.is_staged(each) for each in (first, scheduled, other_month)] == [False, True, True]

    def test_an_abandoned_try_of_another_run_is_removed(self, store) -> None:
        old = staged(store, "killed.1")
        store.stage(MAY, "manual.1", abandoned_after=PAST)
        assert not store.is_staged(old)

    @pytest.mark.parametrize("attempt", ["manual.2", "scheduled.1"])
    def test_a_try_that_is_held_is_never_removed(self, store, attempt: str) -> None:
        held = staged(store, "manual.1")
        with store.hold(held) as folder:
            store.stage(MAY, attempt, abandoned_after=PAST)
            assert store.discard_run(MAY, "manual") == []
            assert (folder / "summary.json").exists()
        assert store.is_staged(held)

    def test_staging_the_same_try_again_keeps_its_files(self, store) -> None:
        staging = staged(store, "manual.1")
        assert store.stage(MAY, "manual.1") == staging
        with store.hold(str(staging)) as folder:
            assert (folder / "tables/by hour+%41 é.parquet").read_bytes() == b"manual.1" * 1000

    def test_a_block_changes_adds_and_removes_files(self, store) -> None:
        staging = staged(store, "manual.1")
        with store.hold(staging) as folder:
            write(folder, {"summary.json": b"{}", "new/file": b"new"})
            (folder / "report.json").unlink()
        with store.hold(staging) as folder:
            found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
            assert found == files_of("manual.1").keys() - {"report.json"} | {"new/file"}
            assert (folder / "summary.json").read_bytes() == b"{}"

    def test_what_a_failed_block_has_written_is_kept_for_inspection(self, store) -> None:
        staging = staged(store, "manual.1", envelope_json=b"{}")

        def refuse() -> None:
            with store.hold(staging) as folder:
                write(folder, {"evidence.json": b'{"refused": true}'})
                raise VerificationError("refused", code="token-expired")

        with pytest.raises(VerificationError, match="token-expired"):
            refuse()
        (kept,) = store.discard_run(MAY, "manual", keep_signed=True)
        assert (store.refused_tries(MAY), store.refused_tries("month=2018-06")) == (1, 0)
        assert str(kept).endswith("/.refused/month=2018-05/manual.1")

    def test_the_latest_refused_tries_are_kept(self, place, store) -> None:
        for number in range(KEPT_REFUSED + 2):
            staged(store, f"run{number}.1", envelope_json=b"{}")
            store.discard_run(MAY, f"run{number}", keep_signed=True)
        left = {name.split("/")[3] for name in place.names() if "/.refused/" in name}
        assert left == {f"run{number}.1" for number in range(2, KEPT_REFUSED + 2)}

    def test_unsigned_tries_leave_nothing(self, place, store) -> None:
        staged(store, "run.1")
        assert store.tries(MAY, "run")
        assert store.discard_run(MAY, "run", keep_signed=True) == []
        assert (place.names(), store.tries(MAY, "run")) == ([], [])

    def test_discarding_may_be_repeated(self, place, store) -> None:
        staging = staged(store, "manual.1")
        store.discard(staging)
        store.discard(str(staging))
        assert place.names() == []

    @pytest.mark.parametrize(
        "use",
        [
            pytest.param(lambda store, staging: store.publish(staging), id="publish"),
            pytest.param(lambda store, staging: store.hold(staging).__enter__(), id="hold"),
        ],
    )
    def test_a_lost_try_is_named(self, store, use) -> None:
        staging = staged(store, "manual.1")
        store.discard(staging)
        with pytest.raises(ResultError, match="staging-lost"):
            use(store, staging)

    def test_a_published_try_cannot_be_published_with_other_content(self, store) -> None:
        store.publish(staged(store, "manual.1"))
        with pytest.raises(ResultError, match="attempt-published"):
            store.publish(staged(store, "manual.1", summary_json=b"{}"))
        assert attempt_in(store.published(MAY)) == "manual.1"

    def test_a_try_that_was_replaced_does_not_come_back(self, store) -> None:
        staging = staged(store, "manual.1")
        store.publish(staging)
        store.publish(staged(store, "later.1"))
        with pytest.raises(ResultError, match="attempt-replaced"):
            store.publish(staging)
        assert attempt_in(store.published(MAY)) == "later.1"


class TestNames:
    @pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a\0b", "é", "x" * 241, "a b", "a.lock"])
    def test_unsafe_ones_are_refused(self, place, store, name: str) -> None:
        for attempt in (
            lambda: place.results().store(name),
            lambda: store.stage(name, "run.1"),
            lambda: store.stage(MAY, name),
            lambda: store.published(name),
        ):
            with pytest.raises(ConfigurationError, match="results-name"):
                attempt()
        assert place.names() == []

    def test_places_of_another_store_are_refused(self, place, store) -> None:
        foreign = place.results().store("other_dag").stage(MAY, "run.1")
        for action in (store.publish, store.discard, lambda staging: store.hold(staging).__enter__()):
            with pytest.raises(ConfigurationError, match="results-name"):
                action(foreign)
        assert not store.is_staged(foreign)


class TestReading:
    def test_nothing_published_is_named(self, store) -> None:
        with pytest.raises(InputError, match="not-published"):
            store.read_summary(MAY)
        assert (store.published_months(), store.current(MAY)) == ([], None)

    def test_trailing_summaries_are_the_latest_months_before(self, store) -> None:
        for month in MONTHS:
            store.publish(staged(store, f"{month}.1", f"month={month}"))
        found = [summary["attempt"] for summary in store.trailing_summaries(Month(2018, 5), 2)]
        assert found == ["2018-02.1", "2018-03.1"]
        assert store.trailing_summaries(Month(2018, 5), 0) == []

    def test_contents_are_bounded(self, store) -> None:
        version = store.publish(staged(store, "run.1")).version
        with pytest.raises(ValueError, match="more than 10 bytes"):
            version.content("summary.json", 10)
        with pytest.raises(OSError, match="absent"):
            version.content("absent")


@pytest.mark.parametrize("kind", ["nonce", "token"])
def test_a_value_is_consumed_once(place, kind) -> None:
    place.results().store("dag").consume_once(kind, "value", "run.1")
    place.results().store("dag").consume_once(kind, "value", "run.1")
    place.results().store("dag").consume_once(kind, "other", "run.2")
    with pytest.raises(VerificationError, match=rf"{kind}-replayed.*used by run\.1"):
        place.results().store("other_dag").consume_once(kind, "value", "run.2")


class TestSweeping:
    def test_removes_what_is_kept_no_longer_and_nothing_else(self, place, store) -> None:
        for number in (1, 2):
            store.publish(staged(store, f"pub{number}.1"))
        staged(store, "signed.1", envelope_json=b"{}")
        store.discard_run(MAY, "signed", keep_signed=True)
        staged(store, "idle.1")
        store.consume_once("nonce", "value", "run.1")
        place.results().deployment_id()
        planned = list(place.results().stale(Retention(PAST, PAST, PAST, PAST)))
        assert len(planned) == 4
        assert sum(map(place.results().size_of, planned)) > len(files_of("pub1.1")["summary.json"]) * 9
        assert place.results().sweep(Retention(PAST, PAST, PAST, PAST)) == planned
        assert place.results().stale(Retention(PAST, PAST, PAST, PAST)) == []
        assert attempt_in(store.published(MAY)) == "pub2.1"
        assert not [
            name for name in place.names() if "pub1" in name or (".1/" in name and "pub2" not in name)
        ]
        assert ".deployment" in place.names()
        assert place.results().sweep(Retention(PAST, PAST, PAST, PAST)) == []

    def test_keeps_what_is_young(self, place, store) -> None:
        for number in (1, 2):
            store.publish(staged(store, f"pub{number}.1"))
        staged(store, "idle.1")
        store.consume_once("nonce", "value", "run.1")
        before = place.names()
        assert place.results().sweep(Retention()) == []
        assert place.names() == before

    def test_keeps_what_somebody_holds(self, place, store) -> None:
        staging = staged(store, "held.1")
        with store.hold(staging):
            assert place.results().sweep(Retention(PAST, PAST, PAST, PAST)) == []
        assert store.is_staged(staging)


def test_a_deployment_has_one_id(place, tmp_path) -> None:
    assert place.results().deployment_id() == place.results().deployment_id()
    assert place.results().deployment_id().isalnum()
    assert place.results().store("nytaxi_local").published_months() == []


def test_documents_are_replaced(place) -> None:
    for text in ("one", "two"):
        place.results().write_documents("platform_check", {"local.txt": text})
    assert place.names() == ["platform_check/local.txt"]
