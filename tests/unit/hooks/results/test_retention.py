"""What a results folder keeps for how long."""

from __future__ import annotations

import json
import os
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from confidential_spark.core.errors import VerificationError
from confidential_spark.hooks.results.folder_store import FolderResults, FolderStore
from confidential_spark.hooks.results.retention import Retention
from confidential_spark.hooks.results.store import REQUIRED_FILES

if TYPE_CHECKING:
    from pathlib import Path

MAY = "month=2018-05"
KEPT = Retention()


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path, "nytaxi_local")


def staged(store: FolderStore, attempt: str, key: str = MAY) -> Path:
    staging = store.stage(key, attempt)
    for name in (*REQUIRED_FILES, "envelope.json"):
        (staging / name).write_text(json.dumps({"attempt": attempt}))
    return staging


def make_older(path: Path, by: timedelta) -> None:
    then = time.time() - by.total_seconds()
    os.utime(path, (then, then))


# Each returns what is left behind and the file whose time of change says how old it is.
def replaced(store: FolderStore, root: Path) -> tuple[Path, Path]:
    store.publish(staged(store, "old.1"))
    version = store.published(MAY).location
    store.publish(staged(store, "new.1"))
    return version, version.with_name("old.1.replaced")


def abandoned(store: FolderStore, root: Path) -> tuple[Path, Path]:
    staging = staged(store, "killed.1")
    return staging, staging.with_name("killed.1.lock")


def refused(store: FolderStore, root: Path) -> tuple[Path, Path]:
    staged(store, "refused.1")
    (folder,) = store.discard_run(MAY, "refused", keep_signed=True)
    return folder, folder


def seen(store: FolderStore, root: Path) -> tuple[Path, Path]:
    store.consume_once("nonce", "value", "run.1")
    (record,) = (root / ".seen" / "nonce").iterdir()
    return record, record


@pytest.mark.parametrize(
    ("leave", "kept"),
    [
        pytest.param(replaced, KEPT.replaced, id="replaced-version"),
        pytest.param(abandoned, KEPT.tries, id="abandoned-try"),
        pytest.param(refused, KEPT.refused, id="refused-try"),
        pytest.param(seen, KEPT.seen, id="used-nonce"),
    ],
)
def test_what_is_older_than_it_is_kept_is_removed_and_named(store, tmp_path, leave, kept):
    left, dated = leave(store, tmp_path)
    make_older(dated, kept - timedelta(minutes=1))
    assert FolderResults(tmp_path).sweep(KEPT) == []
    assert left.exists()
    make_older(dated, kept + timedelta(minutes=1))
    assert FolderResults(tmp_path).sweep(KEPT) == [left]
    assert not left.exists()
    assert not dated.exists()
    assert FolderResults(tmp_path).sweep(KEPT) == []


def test_published_months_of_any_age_stay(store, tmp_path):
    store.publish(staged(store, "only.1"))
    store.publish(staged(store, "only.1", "run=manual-1"))
    for key in (MAY, "run=manual-1"):
        make_older(store.published(key).location, timedelta(days=3_000))
    assert FolderResults(tmp_path).sweep(Retention(*[timedelta(0)] * 4)) == []
    assert store.read_summary(MAY) == store.read_summary("run=manual-1") == {"attempt": "only.1"}


def test_a_try_that_somebody_holds_stays(store, tmp_path):
    staging, lock = abandoned(store, tmp_path)
    with store.hold(staging):
        make_older(lock, KEPT.tries * 2)
        assert FolderResults(tmp_path).sweep(KEPT) == []
    assert staging.is_dir()


def test_every_dag_is_swept_and_nothing_foreign(store, tmp_path):
    left = [replaced(each, tmp_path) for each in (FolderStore(tmp_path, "nytaxi_dcsv3"), store)]
    for _, note in left:
        make_older(note, KEPT.replaced * 2)
    foreign = tmp_path / "foreign" / "notes"
    foreign.mkdir(parents=True)
    make_older(foreign, timedelta(days=3_000))
    assert FolderResults(tmp_path).sweep(KEPT) == [version for version, _ in left]
    assert foreign.is_dir()


def test_drafts_of_killed_processes_go_early(store, tmp_path):
    store.consume_once("token", "value", "run.1")
    draft = tmp_path / ".seen" / "token" / ".draft.1"
    draft.touch()
    make_older(draft, timedelta(hours=2))
    assert FolderResults(tmp_path).sweep(KEPT) == [draft]
    with pytest.raises(VerificationError, match="token-replayed"):
        store.consume_once("token", "value", "run.2")


def test_no_results_folder_is_nothing_to_sweep(tmp_path):
    assert FolderResults(tmp_path / "absent").sweep(KEPT) == []


def test_what_cannot_be_removed_is_logged_and_the_rest_is_swept(store, tmp_path, caplog):
    record, _ = seen(store, tmp_path)
    old = tmp_path / "broken_dag" / ".refused" / MAY / "old.1"
    old.mkdir(parents=True)
    (tmp_path / "broken_dag" / ".locks").write_text("a file in a folder's place")
    for path in (record, old):
        make_older(path, timedelta(days=100))
    assert FolderResults(tmp_path).sweep(KEPT) == [record]
    assert "Could not sweep" in caplog.text
    assert "broken_dag" in caplog.text
