"""What Airflow pays to parse one DAG file, once Airflow itself is imported: `parsed_dag FILE`."""

from __future__ import annotations

import sys

from airflow.dag_processing.dagbag import DagBag

from benchmarks.programs.own_figures import measured

if __name__ == "__main__":
    with measured():
        bag = DagBag(dag_folder=sys.argv[1])
    assert bag.dags, bag.import_errors
