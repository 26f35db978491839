"""The index of results: it is a copy that anybody may lose or spoil, and nothing but time is lost."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from confidential_spark.cli.main import main
from confidential_spark.hooks.index.entry import IndexEntry, index_entry
from confidential_spark.hooks.index.index import FILE, Index, change_index, note_publication, read_index
from confidential_spark.hooks.index.places import FolderIndex, index_file
from confidential_spark.hooks.index.rebuild import entry_of, is_usable, rebuild_index
from confidential_spark.hooks.results.folder_store import FolderStore
from confidential_spark.jobs import JOBS
from confidential_spark.jobs.nytaxi import NYTAXI
from confidential_spark.jobs.rollup.rollup import ROLLUPS

from tests.unit.jobs.test_report import report

if TYPE_CHECKING:
    from pathlib import Path

DAG_ID, MAY, JUNE = "nytaxi_local", "month=2018-05", "month=2018-06"
SUMMARY = {
    "rows": {"input": 10, "accepted": 9, "rejected": 1},
    "totals": {"trips": 9, "revenue_cents": 1234, "speed_mph": 12.5},
}


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path, DAG_ID)


@pytest.fixture
def file(tmp_path: Path) -> FolderIndex:
    return FolderIndex(tmp_path, DAG_ID)


def publish(store: FolderStore, key: str, attempt: str = "one.try1-00") -> None:
    staging = store.stage(key, attempt)
    (staging / "summary.json").write_text(json.dumps(SUMMARY))
    (staging / "evidence.json").write_text("{}")
    (staging / "report.json").write_text(report(month=key.partition("=")[2]).to_json())
    store.publish(staging)


def test_an_entry_has_what_lists_and_plots_need(store):
    publish(store, MAY)
    entry = entry_of(store.published(MAY), DAG_ID)
    assert entry.version == "one.try1-00"
    assert entry.trust == "simulated"
    assert entry.synthetic
    assert entry.rows == 9
    assert entry.figures == {
        "rows.input": 10,
        "rows.accepted": 9,
        "rows.rejected": 1,
        "totals.trips": 9,
        "totals.revenue_cents": 1234,
        "totals.speed_mph": 12.5,
    }
    assert (entry.checks, entry.warned, entry.failed) == (2, ("trailing_trips",), ())
    assert entry.seconds == 8.75
    assert entry.input is not None
    assert entry.input.bytes == 277_419


@pytest.mark.parametrize(
    ("documents", "why"),
    [
        pytest.param(({}, {}), "absent", id="absent"),
        pytest.param(
            ({"checks": 7, "timings": [], "inputs": "x", "measurement": None, "trust": {}}, {"rows": 3}),
            "of the wrong type",
            id="of-the-wrong-type",
        ),
        pytest.param(
            (
                {
                    "checks": [{"name": 1, "passed": "no"}, 3],
                    "timings": {"a": -1, "b": True, "c": float("nan")},
                },
                {"rows": {"accepted": -1}, "totals": {"trips": True, "speed_mph": float("nan")}},
            ),
            "out of range",
            id="out-of-range",
        ),
    ],
)
def test_an_entry_leaves_out_what_is_no_use(documents, why):
    entry = index_entry("v", *documents, b"no evidence", NYTAXI)
    assert (entry.rows, entry.figures, entry.timings, entry.signed_at) == (None, {}, {}, None), why
    assert entry.trust == ""


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"not json", id="no-json"),
        pytest.param(b"[" * 100_000, id="nested"),
        pytest.param(b'{"v": 2, "dag_id": "nytaxi_local", "entries": {}}', id="of-another-version"),
        pytest.param(b'{"v": 1, "dag_id": "sparkpi_local", "entries": {}}', id="of-another-dag"),
        pytest.param(b'{"v":1,"dag_id":"nytaxi_local","entries":{"../x":{"version":"a"}}}', id="unsafe-key"),
        pytest.param(
            b'{"v":1,"dag_id":"nytaxi_local","entries":{"month=2018-05":{"version":"../a"}}}',
            id="unsafe-version",
        ),
        pytest.param(
            b'{"v":1,"dag_id":"nytaxi_local","entries":{"month=2018-05":{"version":"a","rows":"9"}}}',
            id="text-for-a-number",
        ),
        pytest.param(b" " * (16 * 1024 * 1024 + 1), id="too-large"),
    ],
)
def test_a_spoilt_index_is_an_empty_one_and_is_made_anew(store, file, tmp_path, content):
    publish(store, MAY)
    (tmp_path / DAG_ID / FILE).write_bytes(content)
    assert read_index(file).entries == {}
    assert rebuild_index(tmp_path, DAG_ID).added == (MAY,)
    assert set(read_index(file).entries) == {MAY}
    assert is_usable(file)


def test_a_link_in_the_place_of_the_index_is_not_followed(store, file, tmp_path):
    publish(store, MAY)
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_bytes(Index(dag_id=DAG_ID).with_entries({MAY: IndexEntry(version="x")}).to_bytes())
    (tmp_path / DAG_ID / FILE).symlink_to(elsewhere)
    assert read_index(file).entries == {}
    rebuild_index(tmp_path, DAG_ID)
    assert not (tmp_path / DAG_ID / FILE).is_symlink()
    assert "one.try1-00" not in elsewhere.read_text()


def test_an_entry_holds_for_its_version_only(store, file, tmp_path):
    publish(store, MAY)
    rebuild_index(tmp_path, DAG_ID)
    publish(store, MAY, "two.try1-00")
    assert file.versions() == {MAY: "two.try1-00"}
    assert read_index(file).entry(MAY, "two.try1-00") is None
    assert not is_usable(file)
    assert rebuild_index(tmp_path, DAG_ID, trust_entries=True).added == (MAY,)
    assert read_index(file).entry(MAY, "two.try1-00") is not None


def test_rebuilding_corrects_adds_and_drops(store, file, tmp_path):
    publish(store, MAY)
    publish(store, JUNE)
    rebuild_index(tmp_path, DAG_ID)
    true = read_index(file).entries
    forged = IndexEntry(version="one.try1-00", trust="hardware", rows=1_000_000)
    change_index(
        file,
        lambda index: Index(
            dag_id=DAG_ID, entries={MAY: forged, "month=2018-07": IndexEntry(version="gone")}
        ),
    )
    found = rebuild_index(tmp_path, DAG_ID)
    assert (found.published, found.added, found.dropped) == (2, (MAY, JUNE), ("month=2018-07",))
    assert read_index(file).entries == true


def test_rebuilding_an_index_that_is_right_writes_nothing(store, file, tmp_path):
    publish(store, MAY)
    rebuild_index(tmp_path, DAG_ID)
    before = (tmp_path / DAG_ID / FILE).stat().st_ino
    assert rebuild_index(tmp_path, DAG_ID).added == ()
    assert (tmp_path / DAG_ID / FILE).stat().st_ino == before


def test_a_version_that_cannot_be_read_is_named_and_stays_published(store, tmp_path):
    publish(store, MAY)
    for name in ("report.json", "summary.json", "evidence.json"):
        (store.published(MAY).location / name).unlink()
    found = rebuild_index(tmp_path, DAG_ID)
    assert found.published == 1
    entry = read_index(index_file(tmp_path, DAG_ID)).entries[MAY]
    assert (entry.version, entry.rows, entry.trust) == ("one.try1-00", None, "")


def test_what_is_no_commit_marker_is_not_published(store, file, tmp_path):
    publish(store, MAY)
    home = tmp_path / DAG_ID
    (home / "month=2018-01").mkdir()
    (home / "month=2018-02").symlink_to("/etc")
    (home / "month=2018-03").symlink_to(".versions/month=2018-03/gone")
    (home / "month=2018-04").write_text("")
    assert file.versions() == {MAY: "one.try1-00"}


def test_many_workers_publish_at_once_and_none_is_forgotten(file):
    keys = [f"month=2018-{number:02d}" for number in range(1, 13)]
    start = threading.Barrier(len(keys))

    def note(key: str) -> None:
        start.wait()
        note_publication(file, key, IndexEntry(version="one"))

    with ThreadPoolExecutor(len(keys)) as workers:
        list(workers.map(note, keys))
    assert sorted(read_index(file).entries) == keys


def test_a_publication_stays_one_where_the_index_cannot_be_written(file, tmp_path, caplog):
    (tmp_path / DAG_ID).write_text("a file in the place of the folder")
    note_publication(file, MAY, IndexEntry(version="one"))
    assert "published and not in the index yet" in caplog.text


def test_the_command_rebuilds_every_dag(store, tmp_path, capsys):
    publish(store, MAY)
    assert main(["index", "rebuild", "--location", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 * (len(JOBS) + len(ROLLUPS))
    assert " ".join(lines[0].split()) == "nytaxi_local 1 published, 1 added or corrected, 0 dropped"


@pytest.mark.parametrize("dag_id", ["../x", ".hidden", ""])
def test_the_command_refuses_names_that_are_paths(tmp_path, capsys, dag_id):
    assert main(["index", "rebuild", "--location", str(tmp_path), "--dag-id", dag_id]) == 2
    assert "results-name" in capsys.readouterr().err
