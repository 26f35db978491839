"""A deployment whose results are in Blob: its setting, a whole run, the pages, a copy that verifies."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from typing import TYPE_CHECKING, Any

import pytest
from confidential_spark.cli.main import main
from confidential_spark.core.errors import ConfigurationError
from confidential_spark.core.stages import TASK_IDS
from confidential_spark.hooks.results.blob_copies import BlobCopies
from confidential_spark.hooks.results.location import blob_folder_at, result_store, results_at
from confidential_spark.hooks.results.published_versions import FolderFiles
from confidential_spark.jobs import JOBS
from confidential_spark.operators import base
from confidential_spark.settings import get_settings
from confidential_spark.ui.results.live_verification import Judge, KeptJudgements
from confidential_spark.ui.results.published_blobs import PublishedBlobs
from confidential_spark.ui.views.report_view import local_command
from confidential_spark.verification import Outcome

from tests.azure.results.conftest import MAY, NUMBERS, attempt_in, files_of, staged
from tests.support.azure.azurite import ACCOUNT, KEY
from tests.support.azure.results import CONTAINER

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from confidential_spark.jobs.job import SparkJob

    from tests.support.azure.results import BlobPlace

DAG = "nytaxi_local"
SPELLINGS = (
    f"wasbs://{CONTAINER}@{ACCOUNT}.blob.core.windows.net",
    f"abfss://{CONTAINER}@{ACCOUNT}.dfs.core.windows.net",
    f"https://{ACCOUNT}.blob.core.windows.net/{CONTAINER}",
)


@pytest.fixture
def spelt(blobs: BlobPlace, connect: Callable[..., None]) -> list[str]:
    """The same place in three spellings, reached with the account's key."""
    connect(login=ACCOUNT, password=KEY)
    number = next(NUMBERS)
    return [f"{spelling}/deployment%20{number}/résultats+" for spelling in SPELLINGS]


class TestLocation:
    def test_three_spellings_name_the_same_results(self, spelt: list[str]) -> None:
        first, *others = [result_store(location, DAG) for location in spelt]
        first.publish(staged(first, "run.1"))
        assert [attempt_in(store.current(MAY)) for store in others] == ["run.1", "run.1"]

    def test_a_connection_of_the_results_own_is_used(self, spelt, deploy, monkeypatch) -> None:
        own = {"conn_type": "wasb", "login": ACCOUNT, "password": KEY}
        monkeypatch.setenv("AIRFLOW_CONN_TRIPS", json.dumps({"conn_type": "http", "host": "elsewhere"}))
        monkeypatch.setenv("AIRFLOW_CONN_OWN", json.dumps(own))
        with pytest.raises(ConfigurationError, match="storage-connection-invalid"):
            results_at(spelt[0])
        deploy(results_conn_id="own")
        assert results_at(spelt[0]).deployment_id()


class TestPages:
    @pytest.fixture
    def published(self, blobs: BlobPlace, tmp_path) -> Callable[[], PublishedBlobs]:
        """What the next request of a page sees."""
        return lambda: PublishedBlobs(BlobCopies(blobs.folder(), tmp_path / "copies"))

    @pytest.fixture
    def store(self, blobs: BlobPlace):
        return blobs.results().store(DAG)

    def test_keys_are_the_published_entries_only(self, blobs, store, published) -> None:
        store.publish(staged(store, "run.1"))
        store.publish(staged(store, "run.1", "run=manual-1"))
        staged(store, "run.2", "month=2018-06")
        blobs.write(f"{DAG}/month=2018-09.json", b"a foreign file")
        assert published().keys(DAG) == [MAY, "run=manual-1"]

    @pytest.mark.parametrize("dag_id", ["", ".", "..", "/", f"../{DAG}", f"{DAG}/", ".versions", "no", "\0"])
    def test_a_name_that_is_not_there_has_nothing(self, store, published, dag_id: str) -> None:
        store.publish(staged(store, "run.1"))
        assert (published().keys(dag_id), published().result(dag_id, MAY)) == ([], None)

    def test_a_version_is_read_from_a_copy(self, store, published) -> None:
        store.publish(staged(store, "run.1"))
        result = published().result(DAG, MAY)
        assert (result.version, result.document("summary.json")) == ("run.1", {"attempt": "run.1"})
        assert FolderFiles(result.folder).names() == sorted(files_of("run.1"))

    def test_a_kept_version_is_found_after_it_was_replaced(self, store, published) -> None:
        store.publish(staged(store, "run.1"))
        store.publish(staged(store, "run.2"))
        assert published().result(DAG, MAY).version == "run.2"
        assert published().result(DAG, MAY, "run.1").document("summary.json") == {"attempt": "run.1"}
        assert published().result(DAG, MAY, "no") is None

    def test_a_copy_is_made_once_and_again_when_a_blob_changes(self, blobs, store, published) -> None:
        store.publish(staged(store, "run.1"))
        first = published().result(DAG, MAY)
        assert published().result(DAG, MAY).folder == first.folder
        blobs.write(f"{DAG}/.versions/{MAY}/run.1/summary.json", b'{"attempt": "altered"}')
        altered = published().result(DAG, MAY)
        assert altered.folder != first.folder
        assert altered.document("summary.json") == {"attempt": "altered"}

    def test_copies_are_bounded(self, store, published, monkeypatch, tmp_path) -> None:
        monkeypatch.setattr("confidential_spark.hooks.results.blob_copies.MAX_COPIES", 2)
        for number in range(4):
            store.publish(staged(store, f"run{number}.1"))
            assert published().result(DAG, MAY).version == f"run{number}.1"
        assert len(list((tmp_path / "copies").iterdir())) == 2


def test_the_api_server_shows_what_is_in_blob(spelt, deploy, tmp_path, browse, show) -> None:
    deploy(results_dir=spelt[0], cache_dir=tmp_path / "cache")
    show(None)
    assert browse("viewer").get(f"/results/{DAG}/{MAY}").status_code == 404
    store = result_store(spelt[0], DAG)
    store.publish(staged(store, "run.1"))
    listed, page = browse("viewer").get("/"), browse("viewer").get(f"/results/{DAG}/{MAY}")
    assert (listed.status_code, page.status_code) == (200, 200)
    assert "REFUSED" in page.text
    assert browse("viewer").get(f"/results/{DAG}/{MAY}/summary.json").json() == {"attempt": "run.1"}
    deploy(results_conn_id="absent")
    assert browse("viewer").get("/").status_code == 503


@pytest.fixture
def machines(tmp_path, monkeypatch) -> list[Path]:
    """The temporary folders of the tasks: each task begins on another machine, and the last one is gone."""
    made: list[Path] = []
    scope = base.run_scope

    def on_another_machine(context: Any, job: SparkJob) -> base.RunScope:
        for left in made:
            shutil.rmtree(left, ignore_errors=True)
        made.append(tmp_path / f"machine{len(made)}")
        made[-1].mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(made[-1]))
        return scope(context, job)

    monkeypatch.setattr(base, "run_scope", on_another_machine)
    return made


def test_a_run_on_blobs_verifies_from_a_copy(spelt, deploy, run_dag, machines, tmp_path, capsys) -> None:
    """No task needs the disk of another: the try is in Blob alone."""
    inputs = get_settings().inputs_dir
    deploy(results_dir=tmp_path / "local", inputs_dir=inputs)
    on_files = run_dag("nytaxi_local", "2018-05")
    deploy(results_dir=spelt[0])
    run = run_dag("nytaxi_local", "2018-05")
    assert (run.state, run.failed) == ("success", set())
    assert on_files.state == "success"
    assert len(machines) == len(TASK_IDS) * 2
    assert not [path for machine in machines for path in machine.rglob("*")]
    assert run.xcoms["spark.run_spark"]["staging"].startswith(f"{spelt[0]}/{DAG}/.staging/{MAY}/")
    assert KEY not in json.dumps(run.xcoms)

    copy = tmp_path / "copy"
    assert main(["results", "get", f"{spelt[0]}/{DAG}", MAY, str(copy)]) == 0
    local = tmp_path / "local" / DAG / MAY
    tables = [path.name for path in local.glob("*.parquet")]
    assert tables
    assert {name: (copy / name).read_bytes() for name in tables} == {
        name: (local / name).read_bytes() for name in tables
    }
    verify = ["--policy", str(get_settings().policy_path("local")), "--month", "2018-05"]
    at = json.loads((copy / "report.json").read_bytes())["verification"]["facts"]["finished_at"]
    assert main(["verify", str(copy / "evidence.json"), *verify, "--at", at]) == 0
    assert "VERIFIED" in capsys.readouterr().out
    shown = PublishedBlobs(BlobCopies(blob_folder_at(spelt[0]), tmp_path / "copies")).result(DAG, MAY)
    settings = get_settings()
    judge = Judge(DAG, JOBS["nytaxi"], settings.policy_path("local"), settings.jobs_dir, KeptJudgements())
    judgement = judge.judge(shown)
    assert judgement.report.outcome is Outcome.VERIFIED
    (tmp_path / "reader").mkdir()
    command = local_command(judge, judgement.claim, shown)
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path / "reader", capture_output=True, text=True, check=False
    )
    assert "VERIFIED" in done.stdout, (command, done.stderr)
    assert main(["results", "get", f"{spelt[0]}/{DAG}", MAY, str(copy)]) == 2
    assert main(["results", "get", f"{spelt[0]}/{DAG}", "month=2018-06", str(tmp_path / "other")]) == 2


def test_pages_name_the_versions_that_were_replaced(blobs: BlobPlace, tmp_path: Path) -> None:
    def replaced(key: str = MAY) -> list[str]:
        copies = BlobCopies(blobs.folder(), tmp_path / "copies")
        return [each.version for each in PublishedBlobs(copies).replaced(DAG, key)]

    store = blobs.results().store(DAG)
    for attempt in ("run.1", "run.2", "run.3"):
        store.publish(staged(store, attempt))
    assert replaced() == ["run.2", "run.1"], "the latest first"
    assert replaced("month=2018-06") == []
    # Readers follow the marker's metadata; its content is needed for the history alone.
    blobs.folder().write(f"{DAG}/{MAY}.json", b"{}", metadata={"version": "run.3"})
    assert replaced() == []
