"""What is kept no longer is named with its size, and removed only when that is asked for."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from confidential_spark.hooks.housekeeping import stale
from confidential_spark.hooks.housekeeping.stale import Kept, Places, Stale, find_stale, remove_stale
from confidential_spark.hooks.results.folder_store import FolderStore

if TYPE_CHECKING:
    from pathlib import Path

KEPT = Kept()
MINUTE = timedelta(minutes=1)
DIGITS = b"0123456789"


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "results", (tmp_path / "cache", tmp_path / "other"), tmp_path / "logs")


def make(path: Path, age: timedelta, *, folder: bool = False) -> Path:
    """Make a file of ten bytes, or a folder with one, and let it be older."""
    file = path / "inner" / "file" if folder else path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(DIGITS)
    then = time.time() - age.total_seconds()
    os.utime(path, (then, then))
    return path


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        pytest.param(".building-x1", True, id="class-archive-or-program"),
        pytest.param(".wheels-0123-y2", True, id="wheels"),
        pytest.param(".jars-0123-y2", True, id="jars"),
        pytest.param(".debootstrap-z3", True, id="base"),
        pytest.param("cluster/.building-x1", True, id="cluster"),
    ],
)
def test_drafts_of_killed_builds_go_after_a_day(places: Places, name: str, folder: bool) -> None:
    young = make(places.caches[0] / f"{name}-young", KEPT.drafts - MINUTE, folder=folder)
    old = make(places.caches[1] / name, KEPT.drafts + MINUTE, folder=folder)
    assert find_stale(places, KEPT) == [Stale(old, "cache", len(DIGITS))]
    assert old.exists()
    assert remove_stale(places, KEPT) == [Stale(old, "cache", len(DIGITS))]
    assert (old.exists(), young.exists()) == (False, True)
    assert find_stale(places, KEPT) == []


@pytest.mark.parametrize(
    ("kind", "folder"),
    [
        pytest.param("spark-classes-{}.jsa", False, id="class-archive"),
        pytest.param("wheels-{}", True, id="wheels"),
        pytest.param("jars-{}", True, id="jars"),
        pytest.param("debian-{}.tar", False, id="base"),
        pytest.param("cluster/programs-{}", True, id="cluster-programs"),
        pytest.param("cluster/network-{}", True, id="cluster-network"),
    ],
)
def test_of_builds_the_newest_stays_however_old_it_is(places: Places, kind: str, folder: bool) -> None:
    cache = places.caches[0]
    oldest, older, newest = (
        make(cache / kind.format(name), KEPT.builds + age * MINUTE, folder=folder)
        for name, age in (("a", 3), ("c", 2), ("b", 1))
    )
    replaced_lately = make(cache / kind.format("d"), KEPT.builds - MINUTE, folder=folder)
    assert [each.path for each in remove_stale(places, KEPT)] == [oldest, older, newest]
    assert replaced_lately.exists()
    make(replaced_lately, KEPT.builds * 9, folder=folder)
    assert remove_stale(places, KEPT) == []


def test_what_is_not_a_build_stays(places: Places) -> None:
    for name in (
        "simulated-sign-key.pem",
        "notes.txt",
        ".debootstrap.lock",
        "cluster/lock",
        "cluster/node/kept",
    ):
        make(places.caches[0] / name, timedelta(days=3_000))
    assert remove_stale(places, KEPT) == []


def test_logs_go_and_at_last_their_folders(places: Places) -> None:
    assert places.logs
    run = places.logs / "dag_id=d" / "run_id=r"
    old = make(run / "attempt=1.log", KEPT.logs + MINUTE)
    young = make(run / "attempt=2.log.trigger.7.log", KEPT.logs - MINUTE)
    foreign = make(places.logs / "evidence.json", timedelta(days=3_000))
    (places.logs / "latest.log").symlink_to(foreign)
    os.utime(places.logs / "latest.log", (0, 0), follow_symlinks=False)
    assert [each.path for each in remove_stale(places, KEPT)] == [old]
    young.unlink()
    assert remove_stale(places, KEPT) == []
    os.utime(run, (0, 0))
    assert [each.path for each in remove_stale(places, KEPT)] == [run]
    assert foreign.exists()
    assert places.logs.is_dir()


def test_results_are_named_before_they_are_removed(places: Places) -> None:
    store = FolderStore(places.results, "nytaxi_local")
    staging = store.stage("month=2018-05", "killed.1")
    make(staging / "summary.json", MINUTE)
    make(staging.with_name("killed.1.lock"), KEPT.results.tries + MINUTE)
    store.consume_once("nonce", "value", "run.1")
    (record,) = (places.results / ".seen" / "nonce").iterdir()
    os.utime(record, (0, 0))
    planned = find_stale(places, KEPT)
    assert [each.path for each in planned] == [staging, record]
    assert staging.is_dir()
    assert remove_stale(places, KEPT) == planned
    assert find_stale(places, KEPT) == []


def test_a_folder_with_something_mounted_below_is_left_alone(places: Places, monkeypatch, caplog) -> None:
    mounted = make(places.caches[0] / ".debootstrap-killed", KEPT.drafts * 2, folder=True)
    monkeypatch.setattr(stale, "mounts_below", lambda path: [path / "proc"])
    assert find_stale(places, KEPT) == remove_stale(places, KEPT) == []
    assert (mounted / "inner" / "file").exists()
    assert f"{mounted}/proc is mounted below it" in caplog.text


def test_what_cannot_be_removed_stays_for_the_next_time(places: Places, monkeypatch, caplog) -> None:
    left = make(places.caches[0] / ".building-x1", KEPT.drafts * 2, folder=True)

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(stale.shutil, "rmtree", refuse)
    assert remove_stale(places, KEPT) == []
    assert left.is_dir()
    assert "Permission denied" in caplog.text
    monkeypatch.undo()
    assert [each.path for each in remove_stale(places, KEPT)] == [left]


def test_a_deployment_without_any_of_its_folders_has_nothing(places: Places) -> None:
    assert find_stale(places, KEPT) == remove_stale(places, KEPT) == []
