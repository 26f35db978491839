"""`confidential-spark results get` copies what is published, whole, and overwrites nothing."""

from __future__ import annotations

import json

import pytest
from confidential_spark.cli.main import main
from confidential_spark.hooks.results.folder_store import FolderStore
from confidential_spark.hooks.results.store import REQUIRED_FILES

MAY = "month=2018-05"


@pytest.fixture
def results(tmp_path):
    store = FolderStore(tmp_path / "results", "nytaxi_local")
    staging = store.stage(MAY, "run.1")
    for name in (*REQUIRED_FILES, "tables/by_hour.parquet"):
        (staging / name).parent.mkdir(exist_ok=True)
        (staging / name).write_text(json.dumps({"file": name}))
    store.publish(staging)
    return tmp_path / "results" / "nytaxi_local"


def test_copies_the_published_version(results, tmp_path, capsys) -> None:
    copy = tmp_path / "deep" / "copy"
    assert main(["results", "get", f"{results}/", MAY, str(copy)]) == 0
    found = {p.relative_to(copy).as_posix(): p.read_bytes() for p in copy.rglob("*") if p.is_file()}
    assert found.keys() == {*REQUIRED_FILES, "tables/by_hour.parquet"}
    assert all(content == (results / MAY / name).read_bytes() for name, content in found.items())
    assert str(copy / "evidence.json") in capsys.readouterr().out


@pytest.mark.parametrize(
    ("key", "folder", "said"),
    [
        pytest.param("month=2018-06", "copy", "results/nytaxi_local: [not-published]", id="not-published"),
        pytest.param("../etc", "copy", "results-name", id="no-key"),
        pytest.param(MAY, "taken", "taken exists: name a new folder", id="folder-exists"),
    ],
)
def test_refuses_by_name(results, tmp_path, capsys, key: str, folder: str, said: str) -> None:
    (tmp_path / "taken").mkdir()
    assert main(["results", "get", str(results), key, str(tmp_path / folder)]) == 2
    assert said in capsys.readouterr().err
    assert list((tmp_path / "taken").iterdir()) == []
