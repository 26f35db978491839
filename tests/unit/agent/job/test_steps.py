"""The order of a job's three steps, and what each finds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from confidential_spark.agent.errors import AgentError, ExitCode
from confidential_spark.agent.job.steps import run_job
from confidential_spark.agent.launch.launch_file import JobLaunch
from confidential_spark.agent.launch.private_storage import private_storage

from tests.support.places import ROOT

# Called with -s -P JOB COMMAND …; both say what they find, into the file that outlives them.
PYTHON = """#!/bin/sh
echo "python $4" >> {seen}
[ "$4" != query ] || echo '{{"job": "nytaxi"}}'
[ "$4" = query ] || find {work} -name '*.parquet' -o -name spark.conf -o -name left >> {seen}
"""
JAVA = """#!/bin/sh
echo java >> {seen}
touch "$SPARK_LOCAL_DIRS/left"
"""


@pytest.fixture
def launch(tmp_path):
    work, seen = tmp_path / "work", tmp_path / "seen"
    for name, script in (("python", PYTHON), ("java", JAVA)):
        (tmp_path / name).write_text(script.format(work=work, seen=seen))
        (tmp_path / name).chmod(0o755)
    return JobLaunch(
        job="nytaxi",
        job_file=str(ROOT / "include" / "jobs" / "nytaxi.py"),
        arguments=["--month", "2018-05"],
        work_dir=str(work),
        image_digest="sha256:" + 64 * "0",
        java=str(tmp_path / "java"),
        spark_home="/opt/spark",
        python=str(tmp_path / "python"),
        jvm_options=[],
        spark_conf={"spark.master": "local[1]"},
    )


def test_input_and_sparks_own_files_are_gone_before_the_job_sees_a_row(launch, tmp_path):
    with private_storage(Path(launch.work_dir)) as private:
        (private.input / "a.parquet").write_bytes(b"trips")
        run_job(launch, private, private.input.as_uri(), None, in_occlum=False)
    assert (tmp_path / "seen").read_text().splitlines() == ["python query", "java", "python finish"]


def test_without_room_for_the_request_nothing_more_is_started(launch, tmp_path):
    with private_storage(Path(launch.work_dir)) as private:
        full = replace(private, request=Path("/dev/full"))
        with pytest.raises(AgentError, match=r"work-dir-unusable.*No space left on device") as caught:
            run_job(launch, full, None, None, in_occlum=False)
    assert caught.value.exit_code is ExitCode.BAD_LAUNCH
    assert (tmp_path / "seen").read_text().splitlines() == ["python query"]
