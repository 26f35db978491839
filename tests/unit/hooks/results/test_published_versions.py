"""What becomes of versions: added, committed, replaced, swept."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from confidential_spark.core.errors import ResultError
from confidential_spark.hooks.results.published_versions import PublishedVersions
from confidential_spark.hooks.results.store import GRACE

from tests.support.interrupted_calls import killed_at

if TYPE_CHECKING:
    from pathlib import Path

KEY = "month=2018-05"
ALWAYS = timedelta(seconds=-1)


@pytest.fixture
def versions(tmp_path: Path) -> PublishedVersions:
    return PublishedVersions(tmp_path, KEY)


def add(versions: PublishedVersions, name: str) -> None:
    """Make a folder elsewhere and add it as a version."""
    staging = versions.marker.parent / f"staged-{name}"
    staging.mkdir()
    (staging / "summary.json").write_text(name)
    versions.add(staging, name)


def publish(versions: PublishedVersions, *names: str) -> None:
    for name in names:
        add(versions, name)
        versions.commit(name)


def kept(versions: PublishedVersions) -> list[str]:
    return sorted(path.name for path in versions.version("any").parent.iterdir())


def make_older(path: Path, by: timedelta) -> None:
    then = time.time() - by.total_seconds()
    os.utime(path, (then, then))


def note_of(versions: PublishedVersions, name: str) -> Path:
    return versions.version(f"{name}.replaced")


def test_nobody_sees_a_version_before_it_is_committed(versions):
    publish(versions, "one")
    add(versions, "two")
    assert versions.current() == versions.version("one")
    versions.commit("two")
    assert versions.current() == versions.version("two")


@pytest.mark.parametrize(
    ("age", "left"),
    [
        pytest.param(GRACE - timedelta(minutes=1), ["one", "one.replaced", "two"], id="in-its-grace-period"),
        pytest.param(GRACE + timedelta(minutes=1), ["two"], id="after-its-grace-period"),
    ],
)
def test_a_replaced_version_is_kept_for_the_grace_period(versions, age, left):
    publish(versions, "one", "two")
    make_older(note_of(versions, "one"), age)
    versions.sweep(GRACE)
    assert kept(versions) == left


def test_the_grace_period_begins_when_a_version_is_replaced(versions):
    publish(versions, "one")
    make_older(versions.version("one"), timedelta(days=300))
    publish(versions, "two")
    assert versions.sweep(GRACE) == []


def test_a_note_of_a_publisher_that_died_before_the_switch_does_not_shorten_it(versions):
    publish(versions, "one")
    note_of(versions, "one").touch()
    make_older(note_of(versions, "one"), timedelta(days=300))
    publish(versions, "two")
    assert versions.sweep(GRACE) == []


@pytest.mark.parametrize(
    ("age", "left"),
    [
        pytest.param(timedelta(0), ["never", "one"], id="its-publisher-may-come-back"),
        pytest.param(GRACE * 2, ["one"], id="long-ago"),
    ],
)
def test_a_version_that_was_never_committed_is_swept_too(versions, age, left):
    publish(versions, "one")
    add(versions, "never")
    make_older(versions.version("never"), age)
    versions.sweep(GRACE)
    assert kept(versions) == left


def test_nothing_is_swept_while_no_version_is_what_readers_see(versions):
    publish(versions, "one", "two")
    versions.marker.unlink()
    assert versions.sweep(ALWAYS) == []
    assert kept(versions) == ["one", "one.replaced", "two"]


def test_sweeping_nothing_is_fine(versions):
    assert versions.sweep(ALWAYS) == []


def test_what_people_put_there_is_left_alone(versions):
    publish(versions, "one")
    (versions.version("notes.txt")).write_text("mine")
    versions.version("link").symlink_to("one")
    versions.sweep(ALWAYS)
    assert kept(versions) == ["link", "notes.txt", "one"]


def test_committing_again_changes_nothing(versions):
    publish(versions, "one", "two")
    assert versions.commit("two") == versions.commit("two")
    assert versions.current() == versions.version("two")
    assert not note_of(versions, "two").exists()


def test_a_try_that_was_replaced_does_not_come_back(versions):
    publish(versions, "one", "two")
    with pytest.raises(ResultError, match="attempt-replaced"):
        versions.commit("one")
    assert versions.current() == versions.version("two")


def test_a_try_that_was_added_and_overtaken_can_still_be_committed(versions):
    add(versions, "slow")
    publish(versions, "fast")
    versions.commit("slow")
    assert versions.current() == versions.version("slow")


def test_people_may_go_back_to_a_version_that_is_kept(versions):
    publish(versions, "one", "two")
    versions.marker.unlink()
    versions.marker.symlink_to(f".versions/{KEY}/one")
    versions.sweep(GRACE)
    publish(versions, "three")
    assert kept(versions) == ["one", "one.replaced", "three", "two"]


def test_a_kill_at_any_point_of_a_sweep_leaves_no_half_version(tmp_path):
    number, killed = 0, True
    while killed:
        number += 1
        (tmp_path / str(number)).mkdir()
        versions = PublishedVersions(tmp_path / str(number), KEY)
        publish(versions, "one", "two", "three")
        killed = killed_at(number, lambda versions=versions: versions.sweep(ALWAYS))
        for name in ("one", "two"):
            files = versions.version(name) / "summary.json"
            assert files.exists() == versions.version(name).exists()
        versions.sweep(ALWAYS)
        assert kept(versions) == ["three"]
    assert number > 6


def test_replaced_versions_are_named_while_they_are_kept(versions):
    assert versions.replaced() == {}
    publish(versions, "one", "two", "three")
    make_older(note_of(versions, "one"), timedelta(hours=2))
    found = versions.replaced()
    assert found.keys() == {"one", "two"}
    assert found["two"] - found["one"] > timedelta(hours=1)
    versions.sweep(timedelta(hours=1))
    assert versions.replaced().keys() == {"two"}


@pytest.mark.parametrize("target", ["../secret", ".", "..", ".staging"])
def test_a_link_that_leads_out_of_the_versions_names_none(tmp_path, target):
    home = tmp_path / "nytaxi_local"
    versions = PublishedVersions(home, KEY)
    (home / ".staging").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    versions.marker.symlink_to(target)
    assert versions.current() is None


def test_versions_are_found_below_a_link_to_the_results(tmp_path):
    (tmp_path / "mounted").mkdir()
    (tmp_path / "results").symlink_to("mounted")
    versions = PublishedVersions(tmp_path / "results", KEY)
    publish(versions, "one")
    assert versions.current() == tmp_path / "mounted" / ".versions" / KEY / "one"
