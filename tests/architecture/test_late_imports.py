"""Who reads a DAG file loads few libraries: a task those of its platform, and only when it uses them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.places import ROOT

PROJECT = ROOT
DAG_VARIABLE = "_AIRFLOW_PARSING_CONTEXT_DAG_ID"
LIBRARIES = (
    *("docker", "kubernetes", "kubernetes_asyncio", "azure", "pyarrow", "duckdb", "dcap_qvl"),
    "confidential_spark.simulation",
)
PROGRAM = f"""
import runpy, sys
runpy.run_path(sys.argv[1])
print(*(name for name in {LIBRARIES} if name in sys.modules))
"""


def loaded(file_name: str, dag_id: str | None = None) -> set[str]:
    """Return which of the libraries are loaded once the DAG's file is.

    :param dag_id: as a worker loads it for a task of this DAG; None: as Airflow looks for DAGs.
    """
    file = PROJECT / "dags" / file_name
    environment = os.environ | {"PYTHONPATH": str(PROJECT / "plugins")}
    environment.pop(DAG_VARIABLE, None)
    environment |= {DAG_VARIABLE: dag_id} if dag_id else {}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(file)],
        env=environment,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("dag_id", "expected"),
    [
        pytest.param("nytaxi_local", set(), id="local"),
        pytest.param("nytaxi_dcsv3", {"docker"}, id="dcsv3"),
        pytest.param("nytaxi_aks", set(), id="aks"),
    ],
)
def test_a_task_loads_the_libraries_of_its_platform(dag_id: str, expected: set[str]) -> None:
    assert loaded("nytaxi.py", dag_id) == expected


@pytest.mark.parametrize(
    ("file_name", "expected"),
    [
        pytest.param("nytaxi.py", {"docker"}, id="nytaxi"),
        pytest.param("sparkpi.py", {"docker"}, id="sparkpi"),
        pytest.param("platform_check.py", {"docker"}, id="platform_check"),
        pytest.param("enclave_image.py", set(), id="enclave_image"),
        pytest.param("housekeeping.py", set(), id="housekeeping"),
    ],
)
def test_a_dag_file_is_parsed_without_the_libraries_of_tasks(file_name: str, expected: set[str]) -> None:
    assert loaded(file_name) == expected


def test_what_watches_a_run_from_outside_loads_neither_airflow_nor_the_libraries_of_tasks() -> None:
    names = ("airflow", *LIBRARIES)
    program = f"import sys, scripts.run_month; print(*(name for name in {names} if name in sys.modules))"
    environment = os.environ | {"PYTHONPATH": f"{PROJECT / 'plugins'}:{PROJECT}"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_name_of_airflows_variable_is_still_this() -> None:
    from airflow.sdk.definitions.context import _AIRFLOW_PARSING_CONTEXT_DAG_ID

    assert _AIRFLOW_PARSING_CONTEXT_DAG_ID == DAG_VARIABLE
