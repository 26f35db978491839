"""One job from its request to its results: at no time do two of its programs live at once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from confidential_spark.agent.job.job_file import JobFile
from confidential_spark.agent.job.runner_jars import Lock
from confidential_spark.agent.job.spark import JavaCommand, run_spark, runner_main
from confidential_spark.agent.launch.allowed_settings import FIXED_SETTINGS, ONE_PROCESS_SETTINGS
from confidential_spark.agent.launch.private_storage import work_dir_unusable
from confidential_spark.agent.progress import progress_line, say

if TYPE_CHECKING:
    from confidential_spark.agent.executors.driver import ExecutorEnclaves
    from confidential_spark.agent.launch.launch_file import JobLaunch
    from confidential_spark.agent.launch.private_storage import PrivateStorage


def run_job(
    launch: JobLaunch,
    private: PrivateStorage,
    input_uri: str | None,
    executors: ExecutorEnclaves | None,
    *,
    in_occlum: bool,
) -> None:
    """Ask the job for its SQL, let Spark run it, and let the job make its results of the rows.

    :param private: gets the results; its copy of the input is gone before the job sees a row.
    :raises AgentError: a step failed or refused.
    """
    job = JobFile(
        name=launch.job,
        path=Path(launch.job_file),
        arguments=launch.arguments,
        python=launch.python,
        work_dir=Path(launch.work_dir),
        in_occlum=in_occlum,
    )
    say(progress_line("spark", 0, 0, "asking the job for its SQL"))
    _write(private.request, job.query(say))
    say(progress_line("spark", 0, 0, "starting Spark"))
    command = _spark(launch, private, input_uri, executors)
    run_spark(command, executors.say if executors else say, in_occlum=in_occlum)
    # What follows needs neither, and the memory that they may take.
    shutil.rmtree(private.input)
    shutil.rmtree(private.spark)
    say(progress_line("spark", 1, 1, "making the results"))
    job.finish(private.rows, private.results, say)


def _spark(
    launch: JobLaunch, private: PrivateStorage, input_uri: str | None, executors: ExecutorEnclaves | None
) -> JavaCommand:
    return JavaCommand(
        java=launch.java,
        spark_home=launch.spark_home,
        jvm_options=launch.jvm_options,
        spark_conf=launch.spark_conf
        | FIXED_SETTINGS
        | (executors.settings() if executors else ONE_PROCESS_SETTINGS),
        lock=Lock.GATE if executors else Lock.NO_SOCKETS,
        main=runner_main(launch.job, private.request, private.rows, input_uri, private.spark),
        work_dir=private.spark,
        address=executors.address if executors else "127.0.0.1",
    )


def _write(path: Path, request: bytes) -> None:
    try:
        path.write_bytes(request)
    except OSError as error:
        raise work_dir_unusable(path.parent, error) from error
