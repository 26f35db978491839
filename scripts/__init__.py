"""Commands behind the Makefile; never imported by Airflow."""
