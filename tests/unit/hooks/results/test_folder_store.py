import errno
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from confidential_spark.core.errors import (
    ConfidentialSparkError,
    ConfigurationError,
    InputError,
    ResultError,
    VerificationError,
)
from confidential_spark.core.months import Month
from confidential_spark.hooks.results import folder_store
from confidential_spark.hooks.results.folder_store import FolderStore
from confidential_spark.hooks.results.published_versions import FolderFiles
from confidential_spark.hooks.results.store import REQUIRED_FILES, Publication
from hypothesis import given
from hypothesis import strategies as st

from tests.support.interrupted_calls import in_child, killed_at, start_child, system_calls

MAY = "month=2018-05"
NOTHING = timedelta(seconds=-1)  # a grace period that is over at once
NOBODY = 65534


@pytest.fixture
def store(tmp_path) -> FolderStore:
    return FolderStore(tmp_path, "nytaxi_local")


@pytest.fixture
def home(tmp_path) -> Path:
    return tmp_path / "nytaxi_local"


def staged(store: FolderStore, attempt: str, key: str = MAY) -> Path:
    """Stage a complete result whose files all name its attempt."""
    staging = store.stage(key, attempt)
    for name in REQUIRED_FILES:
        (staging / name).write_text(json.dumps({"attempt": attempt}))
    (staging / "tables").mkdir(exist_ok=True)
    (staging / "tables" / "by_hour.parquet").write_text(attempt)
    return staging


def attempt_in(folder: Path) -> str:
    """Return the one attempt that every file of a published folder belongs to."""
    found = {json.loads((folder / name).read_text())["attempt"] for name in REQUIRED_FILES}
    found.add((folder / "tables" / "by_hour.parquet").read_text())
    assert len(found) == 1, f"a mix of versions: {found}"
    return found.pop()


def test_publishes_a_month(store, home):
    link, version = home / MAY, home / ".versions" / MAY / "run.1"
    assert store.publish(staged(store, "run.1")) == Publication(link, FolderFiles(version))
    assert str(link.readlink()) == ".versions/month=2018-05/run.1"
    assert attempt_in(link) == "run.1"
    assert store.read_summary(MAY) == {"attempt": "run.1"}


def test_a_replaced_version_stays_for_who_resolved_it(store, home):
    store.publish(staged(store, "run.1"))
    folder = store.published(MAY).location
    store.publish(staged(store, "run.2"))
    assert attempt_in(home / MAY) == "run.2"
    assert attempt_in(folder) == "run.1"
    assert list((home / ".staging").iterdir()) == []


def test_runs_are_published_beside_months(store):
    store.publish(staged(store, "a.1", "run=manual-1"))
    store.publish(staged(store, "b.1", "month=2018-06"))
    store.publish(staged(store, "c.1", MAY))
    assert store.published_months() == [Month(2018, 5), Month(2018, 6)]
    assert store.read_summary("run=manual-1") == {"attempt": "a.1"}


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda s: (s / "evidence.json").unlink(), id="file-missing"),
        pytest.param(lambda s: (s / "summary.json").write_text(""), id="file-empty"),
        pytest.param(lambda s: (s / "summary.json").write_text("[1]"), id="not-an-object"),
        pytest.param(lambda s: (s / "report.json").write_text("[" * 100_000), id="nested"),
        pytest.param(lambda s: (s / "report.json").write_bytes(b"\xff\xfe"), id="not-text"),
    ],
)
def test_incomplete_results_are_not_published(store, home, spoil):
    store.publish(staged(store, "run.1"))
    staging = staged(store, "run.2")
    spoil(staging)
    with pytest.raises(ResultError, match="results-incomplete"):
        store.publish(staging)
    assert attempt_in(home / MAY) == "run.1"
    assert staging.is_dir()


def test_a_link_in_a_required_files_place_is_not_published(store):
    staging = staged(store, "run.1")
    (staging / "report.json").unlink()
    (staging / "report.json").symlink_to("summary.json")
    with pytest.raises(ResultError, match="results-incomplete"):
        store.publish(staging)


def test_files_that_changed_since_they_were_verified_are_not_published(store, home):
    staging = staged(store, "run.1")
    with pytest.raises(VerificationError, match="result-digest-mismatch"):
        store.publish(staging, {"summary.json": "0" * 64, "tables/by_hour.parquet": "0" * 64})
    assert not (home / MAY).exists()


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(lambda path: path.write_text("mine"), id="file"),
        pytest.param(lambda path: path.mkdir(), id="folder"),
    ],
)
def test_foreign_things_are_not_replaced(store, home, place):
    home.mkdir()
    place(home / MAY)
    with pytest.raises(ResultError, match="results-obstructed"):
        store.publish(staged(store, "run.1"))
    assert not (home / MAY).is_symlink()


@pytest.mark.parametrize("first", [True, False], ids=["first-publication", "replacement"])
def test_a_kill_at_any_point_leaves_the_old_or_the_new_month(tmp_path, first):
    number, seen, killed = 0, set(), True
    while killed:
        number += 1
        root = tmp_path / str(number)
        store = FolderStore(root, "dag")
        if not first:
            store.publish(staged(store, "old.1"))
        staging = staged(store, "new.1")
        killed = killed_at(number, lambda store=store, staging=staging: store.publish(staging, grace=NOTHING))
        link = root / "dag" / MAY
        seen.add(attempt_in(link) if link.exists() else None)
        assert store.published_months() == ([Month(2018, 5)] if link.exists() else [])

        store.publish(staging)
        assert attempt_in(link) == "new.1"
        store.publish(staged(store, "later.1"), grace=NOTHING)
        assert attempt_in(link) == "later.1"
        assert [path.name for path in (root / "dag" / ".versions" / MAY).iterdir()] == ["later.1"]
    assert number > 20
    assert seen == {None if first else "old.1", "new.1"}


def test_no_space_at_any_point_leaves_the_old_or_the_new_month(tmp_path):
    def no_space_at(number: int) -> Callable[[int], None]:
        def react(call: int) -> None:
            if call == number:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "here")

        return react

    for number in range(1, 100):
        store = FolderStore(tmp_path / str(number), "dag")
        store.publish(staged(store, "old.1"))
        staging = staged(store, "new.1")
        with system_calls(no_space_at(number)) as calls:
            try:
                store.publish(staging)
            except ResultError as error:
                failure: ResultError | None = error
            else:
                failure = None
        assert attempt_in(store.published(MAY).location) in ("old.1", "new.1")
        if failure:
            assert failure.code == "disk-full"
            store.publish(staging)
        assert attempt_in(store.published(MAY).location) == "new.1"
        if len(calls) < number:
            return
    pytest.fail("publishing never ended")


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=60", "tmpfs", str(disk)]
    mounted = os.geteuid() == 0 and subprocess.run(command, check=False, capture_output=True).returncode == 0
    if not mounted:
        pytest.skip("cannot mount a small tmpfs: needs root with CAP_SYS_ADMIN")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> list[Path]:
    """Use every inode and byte; return the files that do."""
    fillers: list[Path] = []
    while True:
        fillers.append(disk / f"filler{len(fillers)}")
        try:
            fillers[-1].write_bytes(bytes(8192))
        except OSError:
            return [filler for filler in fillers if filler.exists()]


def test_a_full_disk_leaves_the_old_month(small_disk):
    store = FolderStore(small_disk, "dag")
    store.publish(staged(store, "old.1"))
    staging = staged(store, "new.1")
    fillers = fill(small_disk)
    while True:
        try:
            (small_disk / f"empty{len(fillers)}").touch()
        except OSError:
            break
        fillers.append(small_disk / f"empty{len(fillers)}")
    with pytest.raises(ResultError, match="disk-full"):
        store.publish(staging)
    assert attempt_in(store.published(MAY).location) == "old.1"
    for filler in fillers:
        filler.unlink()
    store.publish(staging)
    assert attempt_in(store.published(MAY).location) == "new.1"


def test_concurrent_publishers_and_a_reader_never_see_a_mix(store):
    store.publish(staged(store, "start.1"))

    def publish_often(name: str) -> None:
        for number in range(15):
            store.publish(staged(store, f"{name}.{number}"))

    children = [start_child(lambda name=name: publish_often(name)) for name in ("a", "b", "c")]
    seen = set()
    statuses = {}
    while len(statuses) < len(children):
        seen.add(attempt_in(store.published(MAY).location))
        for child in children:
            pid, status = os.waitpid(child, os.WNOHANG) if child not in statuses else (0, 0)
            if pid:
                statuses[child] = status
    assert set(statuses.values()) == {0}
    assert len(seen) > 3
    assert attempt_in(store.published(MAY).location).endswith(".14")


def test_publishing_waits_for_its_turn_and_gives_up_clearly(store, home, monkeypatch):
    staging = staged(store, "run.1")
    monkeypatch.setattr(folder_store, "LOCK_TIMEOUT_S", 0.1)
    with folder_store.exclusive(home / ".locks" / f"{MAY}.lock", 1), pytest.raises(ResultError) as caught:
        store.publish(staging)
    assert (caught.value.code, caught.value.retryable) == ("results-locked", True)
    store.publish(staging)


def test_a_new_try_removes_the_dead_tries_of_its_run(store, home):
    staged(store, "manual.1")
    other_run = staged(store, "scheduled.1")
    other_month = staged(store, "manual.1", "month=2018-06")
    new = store.stage(MAY, "manual.2")
    assert sorted(path.name for path in (home / ".staging" / MAY).iterdir()) == [
        "manual.2",
        "manual.2.lock",
        "scheduled.1",
        "scheduled.1.lock",
    ]
    assert new.is_dir()
    assert other_run.is_dir()
    assert other_month.is_dir()


def test_an_abandoned_try_of_another_run_is_removed(store):
    old = staged(store, "killed.1")
    an_hour_ago = time.time() - 3_700
    os.utime(old.with_name("killed.1.lock"), (an_hour_ago, an_hour_ago))
    store.stage(MAY, "manual.1")
    assert not old.exists()
    assert not old.with_name("killed.1.lock").exists()


@pytest.mark.parametrize("attempt", ["manual.2", "scheduled.1"])
def test_a_try_that_is_held_is_never_removed(store, attempt):
    held = staged(store, "manual.1")
    with store.hold(held):
        store.stage(MAY, attempt, abandoned_after=timedelta(seconds=-1))
        assert held.is_dir()
    store.stage(MAY, f"{attempt}x", abandoned_after=timedelta(seconds=-1))
    assert not held.exists()


def test_holding_ends_with_the_process(store):
    held = staged(store, "manual.1")

    def die_holding() -> None:
        with store.hold(held):
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(die_holding) == signal.SIGKILL
    store.stage(MAY, "manual.2")
    assert not held.exists()


def test_staging_the_same_try_again_keeps_its_files(store):
    staging = staged(store, "manual.1")
    assert store.stage(MAY, "manual.1") == staging
    assert (staging / "summary.json").exists()


def test_discarding_removes_a_try_and_may_be_repeated(store, home):
    staging = staged(store, "manual.1")
    store.discard(staging)
    store.discard(str(staging))
    assert list((home / ".staging").iterdir()) == []


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda store, staging: store.publish(staging), id="publish"),
        pytest.param(lambda store, staging: store.hold(staging).__enter__(), id="hold"),
    ],
)
def test_a_lost_try_is_named(store, use):
    staging = staged(store, "manual.1")
    shutil.rmtree(staging)
    with pytest.raises(ResultError, match="staging-lost"):
        use(store, staging)


def test_a_published_try_cannot_be_published_with_other_content(store):
    store.publish(staged(store, "manual.1"))
    with pytest.raises(ResultError, match="attempt-published"):
        store.publish(staged(store, "manual.1"))


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b", "a\0b", "é", "x" * 241, "a b", "a.lock", "a.replaced", "a\n"]
)
def test_refuses_unsafe_names(tmp_path, store, name):
    for attempt in (
        lambda: FolderStore(tmp_path, name),
        lambda: store.stage(name, "run.1"),
        lambda: store.stage(MAY, name),
        lambda: store.published(name),
    ):
        with pytest.raises(ConfigurationError, match="results-name"):
            attempt()
    assert list(tmp_path.iterdir()) == []


def test_refuses_folders_it_did_not_stage(tmp_path, store):
    for action in (store.publish, store.discard):
        with pytest.raises(ConfigurationError, match="results-name"):
            action(tmp_path)
    assert tmp_path.is_dir()


@given(st.text(max_size=300))
def test_any_name_stays_inside_the_store(tmp_path_factory, text):
    root = tmp_path_factory.mktemp("store")
    try:
        staging = FolderStore(root, "dag").stage(MAY, text)
    except ConfidentialSparkError:
        assert list(root.iterdir()) == []
    else:
        assert staging.resolve().parent == root / "dag" / ".staging" / MAY


def test_a_file_in_the_roots_place_is_a_clear_error(tmp_path):
    (tmp_path / "root").write_text("")
    store = FolderStore(tmp_path / "root", "dag")
    with pytest.raises(ResultError, match="results-unwritable"):
        store.stage(MAY, "run.1")
    assert store.published_months() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_a_root_without_permission_is_a_clear_error(tmp_path):
    os.seteuid(NOBODY)
    try:
        with pytest.raises(ResultError, match=r"results-unwritable.*Permission denied"):
            FolderStore(tmp_path, "dag").stage(MAY, "run.1")
    finally:
        os.seteuid(0)


def test_nothing_published_is_a_clear_error(store):
    with pytest.raises(InputError, match="not-published"):
        store.read_summary(MAY)
    assert store.published_months() == []


def test_an_unreadable_summary_is_a_clear_error(store, home):
    store.publish(staged(store, "run.1"))
    (home / MAY / "summary.json").write_text("{")
    with pytest.raises(ResultError, match="summary-unreadable"):
        store.read_summary(MAY)


def test_trailing_summaries_are_the_latest_readable_months_before(store, home):
    for month in ("2017-11", "2018-02", "2018-03", "2018-04", "2018-05", "2018-06"):
        store.publish(staged(store, f"{month}.1", f"month={month}"))
    (home / "month=2018-03" / "summary.json").write_text("{")
    (home / "month=garbage").mkdir()
    found = [summary["attempt"] for summary in store.trailing_summaries(Month(2018, 5), 3)]
    assert found == ["2018-02.1", "2018-04.1"]
    assert store.trailing_summaries(Month(2018, 5), 0) == []


@pytest.mark.parametrize("kind", ["nonce", "token"])
def test_a_value_is_consumed_once(tmp_path, kind):
    FolderStore(tmp_path, "dag").consume_once(kind, "value", "run.1")
    FolderStore(tmp_path, "dag").consume_once(kind, "value", "run.1")
    FolderStore(tmp_path, "dag").consume_once(kind, "other", "run.2")
    with pytest.raises(VerificationError, match=rf"{kind}-replayed.*used by run\.1"):
        FolderStore(tmp_path, "other_dag").consume_once(kind, "value", "run.2")


def test_one_of_many_concurrent_consumers_wins(tmp_path):
    store = FolderStore(tmp_path, "dag")
    consumers = [start_child(lambda name=name: store.consume_once("nonce", "n", name)) for name in "abcdef"]
    statuses = [os.waitpid(consumer, 0)[1] for consumer in consumers]
    assert len([status for status in statuses if status == 0]) == 1


def test_a_kill_while_consuming_leaves_all_or_nothing(tmp_path):
    for number in range(1, 20):
        store = FolderStore(tmp_path / str(number), "dag")

        killed = killed_at(number, lambda store=store: store.consume_once("nonce", "value", "first"))
        store.consume_once("nonce", "value", "first")
        with pytest.raises(VerificationError, match="used by first"):
            store.consume_once("nonce", "value", "second")
        if not killed:
            assert number > 3
            return
    pytest.fail("consuming never ended")
