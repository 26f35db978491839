"""The index of results: what is published and what it says of itself, in one small file for each DAG."""
