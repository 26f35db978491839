"""What our own modules cost at the start of one task, beside Airflow's: `task_imports DAG_FILE`.

A worker that runs one task imports Airflow, and then the DAG file with all that it imports.
"""

from __future__ import annotations

import runpy
import sys

import airflow.sdk
import airflow.sdk.execution_time.task_runner  # noqa: F401 - the same

from benchmarks.programs.own_figures import measured

if __name__ == "__main__":
    with measured():
        runpy.run_path(sys.argv[1])
