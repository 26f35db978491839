"""What others say about the jobs, which cannot be imported without Spark: read from the files' text."""

from __future__ import annotations

import ast

from confidential_spark.jobs.sparkpi import checks as sparkpi_checks

from tests.jobs.conftest import JOBS


def constant(job, name):
    tree = ast.parse((JOBS / job).read_text())
    (value,) = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and [getattr(target, "id", None) for target in node.targets] == [name]
    ]
    return value


def test_the_checks_know_how_many_points_a_partition_has():
    assert constant("sparkpi.py", "SAMPLES_PER_PARTITION") == sparkpi_checks.SAMPLES_PER_PARTITION
