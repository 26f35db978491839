"""`make storage`: an emulator with the caller's trip records in it, and the settings that use it."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from azure.storage.blob import BlobServiceClient
from confidential_spark.core.months import Month
from confidential_spark.hooks.blob.month import BlobMonth
from confidential_spark.hooks.results.location import result_store
from confidential_spark.jobs.nytaxi import NYTAXI
from confidential_spark.settings import forget_settings
from confidential_spark.simulation.trips.month import write_month

from tests.support.azure.azurite import program
from tests.support.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MONTH, CONTRACT = Month(2018, 6), NYTAXI.rules().input


@pytest.fixture(autouse=True)
def _installed() -> None:
    if not program().exists():
        pytest.skip("!!! NOT TESTED: no Azurite: `make azurite` installs it")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "storage"


def command(home: Path, text: str) -> list[str]:
    return [sys.executable, "-m", "tests.support.azure.laptop", "--home", str(home), "--input", text]


@contextmanager
def serving(home: Path, text: str = "") -> Iterator[str]:
    """Start it, yield what it says when it is ready, and end it as Ctrl-C does."""
    process = subprocess.Popen(
        command(home, text), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        said = []
        for line in process.stdout or ():
            said.append(line)
            if "Ctrl-C here" in line:
                break
        assert process.poll() is None, "".join(said)
        yield "".join(said)
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert (process.returncode, rest.strip()) == (0, "")


@pytest.fixture
def use(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], dict[str, str]]]:
    """Does what the printed line does in a shell."""

    def use() -> dict[str, str]:
        lines = (home / "settings.sh").read_text().splitlines()
        values = dict(shlex.split(line)[1].split("=", 1) for line in lines)
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        forget_settings()
        return values

    yield use
    forget_settings()


@pytest.fixture
def yellow(tmp_path: Path) -> Path:
    folder = tmp_path / "yellow records"
    write_month(MONTH, 1000, folder, contract=CONTRACT)
    return folder


def test_the_printed_settings_read_the_months_and_the_results(home, yellow, use) -> None:
    with serving(home, str(yellow)) as said:
        values = use()
        assert f". {home}/settings.sh" in said
        assert BlobMonth(values["CONFIDENTIAL_SPARK_INPUT_URI"]).manifest(MONTH, CONTRACT).rows == 1000
        assert result_store(values["CONFIDENTIAL_SPARK_RESULTS_DIR"], "nytaxi_local").published_months() == []


def test_what_was_stored_is_there_again(home, yellow, use) -> None:
    def etags() -> dict[str, str]:
        account = json.loads(values["AIRFLOW_CONN_STORAGE"])
        client = BlobServiceClient(account["host"], credential=account["password"])
        return {blob.name: blob.etag for blob in client.get_container_client("trips").list_blobs()}

    with serving(home, str(yellow)):
        values = use()
        before = etags()
    with serving(home, yellow.as_uri()):
        values = use()
        assert etags() == before
    with serving(home):
        values = use()
        assert etags() == before
        assert "CONFIDENTIAL_SPARK_INPUT_URI" in values


def test_without_months_they_are_synthetic(home, use) -> None:
    with serving(home) as said:
        assert "synthetic" in said
        assert "CONFIDENTIAL_SPARK_INPUT_URI" not in use()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        pytest.param("{home}/absent", "input-missing", id="absent"),
        pytest.param("{home}/{{year}}", "input-uri", id="template"),
        pytest.param("wasbs://trips@a123.blob.core.windows.net/x", "input-scheme", id="blobs"),
    ],
)
def test_what_cannot_be_uploaded_is_refused_by_name(home, text, code) -> None:
    done = subprocess.run(
        command(home, text.format(home=home)), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, f"REFUSED  [{code}]" in done.stderr) == (2, True), done.stderr


def test_a_second_one_in_the_same_folder_is_refused(home) -> None:
    with serving(home):
        done = subprocess.run(command(home, ""), cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, "REFUSED  [storage-in-use]" in done.stderr) == (2, True), done.stderr
