"""The Java that Spark makes of the jobs' SQL: small enough to be compiled, which decides how fast a month is.

The JVM leaves a method of more than 8,000 bytes to its interpreter for ever (`-XX:+DontCompileHugeMethods`):
one more column in a query may cost ten times its time.
"""

from __future__ import annotations

import pytest

from tests.jobs.published_layouts import LAYOUTS
from tests.jobs.trip_files import MONTH
from tests.support.job_runs import load, query

pytestmark = pytest.mark.spark
HUGE_METHOD_BYTES = 8_000


@pytest.mark.parametrize("version", LAYOUTS)
@pytest.mark.parametrize("name", ["nytaxi", "nytaxi_demand"])
def test_the_compiler_takes_every_method(name, version, runner_calls, tmp_path):
    LAYOUTS[version].write(tmp_path / "a.parquet", [{}])
    (plan,) = runner_calls.plans(query(load(name), "--month", MONTH), tmp_path.as_uri())
    assert max(runner_calls.method_bytes(plan)) <= HUGE_METHOD_BYTES
