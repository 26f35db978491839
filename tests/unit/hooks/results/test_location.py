"""A results location is a folder or an address of blobs, and a folder needs nothing of Azure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from confidential_spark.core.errors import ConfigurationError
from confidential_spark.hooks.results.folder_store import FolderResults
from confidential_spark.hooks.results.location import results_at
from confidential_spark.settings import get_settings

from tests.support.places import ROOT

ADDRESS = "wasbs://results@account.blob.core.windows.net"
PROGRAM = """
import sys
from confidential_spark.hooks.results.location import result_store
result_store("results", "nytaxi_local").published_months()
print(*(name for name in sys.modules if name.partition(".")[0] == "azure"))
"""


def test_a_path_is_a_folder(tmp_path) -> None:
    assert results_at(tmp_path) == results_at(str(tmp_path)) == FolderResults(tmp_path)


def test_a_folder_needs_nothing_of_azure(tmp_path) -> None:
    command = [sys.executable, "-c", PROGRAM]
    environment = {"PYTHONPATH": str(ROOT / "plugins"), "AIRFLOW_HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    "location",
    [
        pytest.param("wasbs://results", id="no-account"),
        pytest.param("s3://results/spark", id="another-cloud"),
        pytest.param(f"{ADDRESS}/{{year}}", id="template"),
        pytest.param("https://account.blob.core.windows.net/results?sv=1&sig=canary", id="sas"),
        pytest.param("https://account.example.com/results", id="another-host"),
        pytest.param("file:///data/results", id="file-address"),
    ],
)
def test_others_are_refused_by_name(location: str) -> None:
    with pytest.raises(ConfigurationError, match="results-location") as caught:
        results_at(location)
    assert "canary" not in str(caught.value)


def test_the_setting_is_a_path_or_an_address(deploy) -> None:
    deploy(results_dir="/data/results")
    assert get_settings().results_dir == Path("/data/results")
    deploy(results_dir=ADDRESS)
    assert get_settings().results_dir == ADDRESS
