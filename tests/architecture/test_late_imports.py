"""Who reads a DAG file loads few libraries: a task those of its platform, and only when it uses them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.places import ROOT

PROJECT = ROOT
DAG_VARIABLE = "_AIRFLOW_PARSING_CONTEXT_DAG_ID"
LARGE = ("docker", "kubernetes", "kubernetes_asyncio", "azure", "pyarrow", "duckdb", "dcap_qvl")
LIBRARIES = (
    *LARGE,
    *("requests", "urllib3", "cryptography.x509", "jwt"),
    # What a task loads of this project when it runs, and only those tasks that use it.
    *("confidential_spark.simulation", "confidential_spark.verification.policy.policy"),
    *("confidential_spark.agent.launch.launch_file", "confidential_spark.enclave.class_archive"),
    *(f"confidential_spark.platforms.{wing}.check" for wing in ("local", "docker", "kubernetes")),
)
CHECKS = {name for name in LIBRARIES if name.endswith(".check")}
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
    "dag_id",
    [
        pytest.param("nytaxi_local", id="local"),
        pytest.param("nytaxi_dcsv3", id="dcsv3"),
        pytest.param("nytaxi_aks", id="aks"),
    ],
)
def test_a_task_starts_without_the_libraries_of_others(dag_id: str) -> None:
    assert loaded("nytaxi.py", dag_id) == set()


@pytest.mark.parametrize("file_name", sorted(file.name for file in (PROJECT / "dags").glob("*.py")))
def test_a_dag_file_is_parsed_without_the_libraries_of_tasks(file_name: str) -> None:
    assert loaded(file_name) == (CHECKS if file_name == "platform_check.py" else set())


def test_what_watches_a_run_from_outside_loads_neither_airflow_nor_large_libraries() -> None:
    names = ("airflow", *LARGE)
    program = f"import sys, scripts.run_month; print(*(name for name in {names} if name in sys.modules))"
    environment = os.environ | {"PYTHONPATH": f"{PROJECT / 'plugins'}:{PROJECT}"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_name_of_airflows_variable_is_still_this() -> None:
    from airflow.sdk.definitions.context import _AIRFLOW_PARSING_CONTEXT_DAG_ID

    assert _AIRFLOW_PARSING_CONTEXT_DAG_ID == DAG_VARIABLE
