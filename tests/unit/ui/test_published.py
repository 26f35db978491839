from __future__ import annotations

import pytest
from confidential_spark.ui import published as module
from confidential_spark.ui.published import Published

from tests.unit.ui.conftest import DAG_ID, KEY


def test_keys_are_the_published_entries_only(publish, tmp_path):
    publish()
    publish(key="run=manual-1")
    (tmp_path / DAG_ID / "notes").mkdir()
    (tmp_path / DAG_ID / "month=2018-09").write_text("a file")
    (tmp_path / DAG_ID / "month=2018-10").symlink_to("nowhere")

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


def test_a_result_stays_consistent_while_the_month_is_replaced(publish, tmp_path):
    publish()
    result = Published(tmp_path).result(DAG_ID, KEY)
    assert result is not None
    newer = tmp_path / DAG_ID / ".versions" / KEY / "try-2"
    newer.mkdir()
    (newer / "report.json").write_text('{"trust": "hardware"}')
    (tmp_path / DAG_ID / KEY).unlink()
    (tmp_path / DAG_ID / KEY).symlink_to(f".versions/{KEY}/try-2")

    assert result.document("report.json")["trust"] == "simulated"


def test_no_results_folder_is_no_results(tmp_path):
    assert Published(tmp_path / "absent").keys(DAG_ID) == []
