"""The launch of a job of this project, as the agent takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confidential_spark.agent.launch.launch_file import JobLaunch

from tests.support.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from confidential_spark.enclave.spark import SparkRuntime


def job_launch(runtime: SparkRuntime, job: str, arguments: Sequence[str], work_dir: Path) -> JobLaunch:
    """Return the launch of one of the jobs in `include/jobs`."""
    return JobLaunch(
        job=job,
        job_file=str(ROOT / "include" / "jobs" / f"{job}.py"),
        arguments=list(arguments),
        work_dir=str(work_dir),
        image_digest="sha256:" + 64 * "0",
        java=str(runtime.java),
        spark_home=str(runtime.spark_home),
        python=str(runtime.python),
        jvm_options=list(runtime.jvm_options),
        spark_conf=runtime.spark_conf,
    )
