"""Run one DAG run to its end, as `airflow dags test` does, but under a run id that the caller knows.

Its file alone is read for the run, and no other DAG of the file is made. `dag.test()` reads the whole folder
once more for DAGs that a run might trigger: no DAG here triggers another one, so they are not made either.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from datetime import datetime

# This process lives for seconds; looking for garbage among what Airflow imports would cost three of them.
gc.disable()

from airflow.dag_processing.dagbag import DagBag  # noqa: E402 - after the collector is off
from airflow.sdk import DagRunState  # noqa: E402 - after the collector is off
from airflow.sdk.definitions._internal.dag_parsing_context import (  # noqa: E402 - after the collector is off
    _airflow_parsing_context_manager,
)

from scripts.interrupted_runs import fail_interrupted_runs  # noqa: E402 - after the collector is off


def main() -> int:
    """Return 0 when the run succeeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dag_id")
    parser.add_argument("--file", required=True, help="where the DAG is defined")
    parser.add_argument("--at", type=datetime.fromisoformat, required=True, help="the run's time, and its id")
    parser.add_argument("--conf", type=json.loads, required=True, help="the run's parameters, JSON")
    arguments = parser.parse_args()
    # As for a task of this DAG: Airflow has no public way to say so.
    with _airflow_parsing_context_manager(dag_id=arguments.dag_id):
        bag = DagBag(arguments.file)
        dag = bag.dags.get(arguments.dag_id)
        if dag is None:
            raise SystemExit(f"DAG {arguments.dag_id} was not found; import errors: {bag.import_errors}")
        # No scheduler watches over this run, and `dag.test` fails with a deadline (Airflow's issue 73428).
        dag.deadline = None
        fail_interrupted_runs()
        run = dag.test(run_after=arguments.at, logical_date=arguments.at, run_conf=arguments.conf)
    return 0 if run.state == DagRunState.SUCCESS else 1


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything is written; taking all of Airflow apart object by object would take three seconds more.
    os._exit(code)
