"""The DAGs as Airflow sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag


@pytest.fixture(scope="session")
def dag_bag(airflow_database) -> DagBag:
    from airflow.dag_processing.dagbag import DagBag

    return DagBag()
