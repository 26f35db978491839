"""Airflow imports DAG files again and again; what only tasks need, they do not load."""

from __future__ import annotations

import subprocess
import sys

from tests.support.places import ROOT

PROGRAM = """
import importlib, pathlib, sys
sys.path[:0] = ["plugins", "dags"]
for path in sorted(pathlib.Path("dags").glob("*.py")):
    importlib.import_module(path.stem)
print(*sys.modules, sep="\\n")
"""


def test_dag_files_load_no_rules_of_a_job_and_no_data_libraries() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.splitlines())
    assert "confidential_spark.jobs.nytaxi" in loaded
    late = {name for name in loaded if name.startswith("confidential_spark.jobs.checks.")}
    late |= {name for name in loaded if name.startswith("confidential_spark.jobs.") and name.count(".") > 2}
    assert late | (loaded & {"duckdb", "pyarrow"}) <= {
        "confidential_spark.jobs.input.blob_location",
        "confidential_spark.jobs.input.location",
        "confidential_spark.jobs.input.manifest",
        "confidential_spark.jobs.rollup.rollup",
    }
