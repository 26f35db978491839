"""The process of a task loads its own platform's libraries and no other's."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.places import ROOT

PROJECT = ROOT
DAG_VARIABLE = "_AIRFLOW_PARSING_CONTEXT_DAG_ID"
LIBRARIES = ("docker", "kubernetes", "kubernetes_asyncio", "azure")
PROGRAM = f"""
import runpy, sys
runpy.run_path(sys.argv[1])
print(*(name for name in {LIBRARIES} if name in sys.modules))
"""


def loaded(dag_id: str) -> set[str]:
    """Return which of the libraries are loaded once the DAG's file is, as a worker loads it for a task."""
    file = PROJECT / "dags" / f"{dag_id.rpartition('_')[0]}.py"
    environment = os.environ | {DAG_VARIABLE: dag_id, "PYTHONPATH": str(PROJECT / "plugins")}
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
        pytest.param("nytaxi_aks", {"kubernetes", "kubernetes_asyncio"}, id="aks"),
    ],
)
def test_a_task_loads_the_libraries_of_its_platform(dag_id: str, expected: set[str]) -> None:
    assert loaded(dag_id) == expected


def test_the_name_of_airflows_variable_is_still_this() -> None:
    from airflow.sdk.definitions.context import _AIRFLOW_PARSING_CONTEXT_DAG_ID

    assert _AIRFLOW_PARSING_CONTEXT_DAG_ID == DAG_VARIABLE
