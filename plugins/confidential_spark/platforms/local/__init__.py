"""Enclaves as child processes of the Airflow task, always simulated."""
