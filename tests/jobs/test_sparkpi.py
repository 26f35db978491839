"""The smoke test's job against the points themselves."""

from __future__ import annotations

import json

import pytest
from confidential_spark.jobs.sparkpi import checks

pytestmark = pytest.mark.spark


def test_counts_the_points_of_its_sequence(sparkpi, runs):
    output = runs(sparkpi).run(["--partitions", "2"])
    xs = (n * 0.7548776662466927 for n in range(400_000))
    ys = (n * 0.5698402909980532 for n in range(400_000))
    inside = sum((x % 1) ** 2 + (y % 1) ** 2 <= 1 for x, y in zip(xs, ys, strict=True))
    assert json.loads((output / "summary.json").read_text()) == {
        "v": 1,
        "job": "sparkpi",
        "pi": 4 * inside / 400_000,
        "samples": 400_000,
        "inside": inside,
        "rows": {"input": 400_000, "accepted": 400_000, "rejected": 0},
        "duration_ms": 1,
    }


def test_the_checks_know_how_many_points_a_partition_has(sparkpi):
    assert sparkpi.SAMPLES_PER_PARTITION == checks.SAMPLES_PER_PARTITION
