"""Whole months through all four stages, from blobs and from files: the figures are the same."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from urllib.parse import unquote

import pytest
from confidential_spark.hooks.task_folder import PREFIX

from tests.support.azure.azurite import KEY
from tests.support.azure.canaries import places_with
from tests.support.azure.tables import tables_in

pytestmark = [pytest.mark.spark]
MONTHS = ["2018-06", "2020-01"]


@pytest.fixture(scope="module")
def months(shared_data, tmp_path_factory):
    """A folder with two real months."""
    folder = tmp_path_factory.mktemp("yellow")
    for month in MONTHS:
        year, number = map(int, month.split("-"))
        part = f"puYear={year}/puMonth={number}"
        shutil.copytree(shared_data / "yellow" / part, folder / part)
    return folder


@pytest.fixture(scope="module")
def container(upload, months):
    return upload("nyctlc", months, "yellow/")


def published(results_dir, month):
    folder = results_dir / "nytaxi_local" / f"month={month}"
    summary = json.loads((folder / "summary.json").read_bytes())
    return {**summary, "duration_ms": 0}, tables_in(folder), json.loads((folder / "report.json").read_bytes())


def test_the_figures_of_blobs_are_those_of_the_same_files(
    run_dag, results_dir, connect, container, months, sas, storage, caplog, capfd
):
    token = sas(container)
    connect(extra=json.dumps({"sas_token": token}))
    for month in MONTHS:
        location = f"wasbs://{container}@devstoreaccount1.blob.core.windows.net/yellow"
        blobs = run_dag("nytaxi_local", month, input=location)
        assert (blobs.state, blobs.failed) == ("success", set())
        of_blobs = published(results_dir, month)
        files = run_dag("nytaxi_local", month, input=months.as_uri())
        assert files.state == "success"
        assert published(results_dir, month)[:2] == of_blobs[:2]
        stated = of_blobs[2]["inputs"]
        assert stated["uri"].startswith(f"{storage.endpoint}/{container}/yellow/puYear=")
        assert "blobs" not in stated
    signature = token.rpartition("sig=")[2]
    said = capfd.readouterr()
    assert said.out.count("Input as the Param `input` says") == 2 * len(MONTHS)
    assert not [form for form in (signature, unquote(signature)) if form in caplog.text + said.out + said.err]
    # Airflow's database and logs, the results, and what tasks may have left behind.
    folders = (Path(os.environ["AIRFLOW_HOME"]), results_dir, *Path(tempfile.gettempdir()).glob(f"{PREFIX}*"))
    assert places_with([signature], *folders) == []
    # The search finds it where it was used.
    assert places_with([signature], storage.folder) != []


def test_a_key_does_not_leave_the_pipeline(run_dag, results_dir, connect, container, storage):
    connect(password=KEY)
    location = f"abfss://{container}@devstoreaccount1.dfs.core.windows.net/yellow"
    run = run_dag("nytaxi_local", MONTHS[0], input=location, publish=False)
    assert (run.state, run.failed) == ("success", set())
    assert places_with([KEY], Path(os.environ["AIRFLOW_HOME"]), results_dir) == []
    enclaves = [line for line in storage.debug_log.splitlines() if "GET" in line and "sr=b" in line]
    assert enclaves


def test_a_month_that_is_not_there_is_told_before_an_enclave_starts(run_dag, connect, container):
    connect(password=KEY)
    location = f"wasbs://{container}@devstoreaccount1.blob.core.windows.net/yellow"
    run = run_dag("nytaxi_local", "2017-03", input=location)
    assert run.failed >= {"spark.resolve_input"}
    assert run.tasks["spark.run_spark"] == "upstream_failed"
