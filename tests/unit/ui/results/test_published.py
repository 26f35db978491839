from __future__ import annotations

import shutil

import pytest
from confidential_spark.ui.results import published as module
from confidential_spark.ui.results.published import Published
from confidential_spark.verification import Outcome

from tests.unit.ui.conftest import DAG_ID, KEY


def test_what_the_store_has_not_put_there_is_listed_to_be_refused(publish, tmp_path, judge):
    publish()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "evidence.json").write_bytes((tmp_path / DAG_ID / KEY / "evidence.json").read_bytes())
    strays = {
        "month=2018-08": outside,
        "month=2018-09": KEY,
        "month=2018-10": "nowhere",
        "month=2018-11": "/dev",
    }
    for key, target in strays.items():
        (tmp_path / DAG_ID / key).symlink_to(target)
    (tmp_path / DAG_ID / "month=2018-12").write_text("a file")
    published = Published(tmp_path)
    listed = published.listed(DAG_ID)

    assert list(listed) == published.keys(DAG_ID) == [KEY, *strays, "month=2018-12"]
    outcomes = {key: judge.judge(result).report.outcome for key, result in listed.items()}
    assert outcomes == {**dict.fromkeys(listed, Outcome.REFUSED), KEY: Outcome.VERIFIED}
    assert {key: published.result(DAG_ID, key).folder for key in listed} == {
        key: result.folder for key, result in listed.items()
    }
    assert not any(result.folder.is_relative_to(outside) for result in listed.values())


def test_keys_are_the_published_entries_only(publish, tmp_path):
    publish()
    publish(key="run=manual-1")
    (tmp_path / DAG_ID / "notes").mkdir()

    assert Published(tmp_path).keys(DAG_ID) == [KEY, "run=manual-1"]


@pytest.mark.parametrize(
    "dag_id", ["", ".", "..", "/", "/etc", f"../{DAG_ID}", f"{DAG_ID}/", ".versions", "no", "\0"]
)
def test_a_name_that_is_not_there_has_nothing(publish, tmp_path, dag_id):
    publish()
    assert Published(tmp_path / DAG_ID).keys(dag_id) == []
    assert Published(tmp_path).result(dag_id, KEY) is None


@pytest.mark.parametrize("key", ["", ".", "..", f"{KEY}/", f"{KEY}/../{KEY}", "/etc", ".versions", "month="])
def test_a_key_that_is_not_there_has_nothing(publish, tmp_path, key):
    publish()
    assert Published(tmp_path).result(DAG_ID, key) is None


@pytest.mark.parametrize("name", ["secret.json", "../secret.json", "", ".", "/etc/passwd", "envelope.json"])
def test_only_the_named_files_are_read(publish, tmp_path, name):
    folder = publish()
    (folder / "secret.json").write_text("{}")
    (folder / "envelope.json").write_text("{}")
    result = Published(tmp_path).result(DAG_ID, KEY)

    assert result is not None
    assert result.content(name) is None


def test_a_huge_file_is_left_out(publish, tmp_path, monkeypatch):
    publish()
    result = Published(tmp_path).result(DAG_ID, KEY)
    assert result is not None
    monkeypatch.setattr(module, "MAX_BYTES", 10)

    assert result.content("report.json") is None
    assert result.document("report.json") == {}


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"PAR1" + bytes(3000) + b"PAR1", b"PAR1" + b"\x01" * 3000 + b"PAR1"], ids=len
)
def test_a_table_that_cannot_be_read_has_no_rows(publish, tmp_path, content):
    (publish() / "by_hour.parquet").write_bytes(content)
    assert Published(tmp_path).result(DAG_ID, KEY).rows("by_hour") == []


def test_a_result_stays_consistent_while_the_month_is_replaced(publish, tmp_path):
    publish()
    result = Published(tmp_path).result(DAG_ID, KEY)
    assert result is not None
    publish(attempt="try-2", report={"trust": "hardware"})

    assert result.document("report.json")["trust"] == "simulated"


def test_a_replaced_version_can_be_asked_for_while_it_is_kept(publish, tmp_path):
    old = publish()
    publish(attempt="try-2", report={"trust": "hardware"})
    published = Published(tmp_path)

    result = published.result(DAG_ID, KEY, "try-1")
    assert result is not None
    assert (result.version, result.folder) == ("try-1", old)
    assert result.document("report.json")["trust"] == "simulated"
    shutil.rmtree(old)
    assert published.result(DAG_ID, KEY, "try-1") is None


@pytest.mark.parametrize(
    "version", [".", "..", "/", ".try-1.removed", "try-1/", "../month=2018-06/try-1", "try-1.replaced", "no"]
)
def test_a_version_that_is_not_one_has_nothing(publish, tmp_path, version):
    folder = publish()
    publish(key="month=2018-06")
    (folder.parent / ".try-1.removed").mkdir()
    (folder.parent / "try-1.replaced").touch()

    assert Published(tmp_path).result(DAG_ID, KEY, version) is None


def test_no_results_folder_is_no_results(tmp_path):
    assert Published(tmp_path / "absent").keys(DAG_ID) == []
