"""A DAG file with nothing in it."""

from __future__ import annotations

from airflow.sdk import DAG

with DAG("empty", schedule=None):
    pass
