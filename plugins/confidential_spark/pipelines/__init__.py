"""Tasks wired into DAGs."""
