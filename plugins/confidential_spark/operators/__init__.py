"""Thin Airflow operators: context in, core call, small XCom out."""
