"""Pages inside Airflow: what ran, what was proven, what was published. They show; they decide nothing."""
