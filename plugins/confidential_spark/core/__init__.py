"""What is true, without Airflow: policies, verification, evidence, jobs, checks, failures."""
