"""The agent's three steps as a process of its own: ``python -m tests.jobs.three_steps LAUNCH INPUT OUTPUT``.

Without attestation, whose service is on the loopback: so it can run where there is no network at all.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from confidential_spark.agent.errors import AgentError
from confidential_spark.agent.job.steps import run_job
from confidential_spark.agent.launch.launch_file import JobLaunch
from confidential_spark.agent.launch.private_storage import private_storage


def main(launch_file: str, input_uri: str, output: str) -> int:
    """Run the job and copy its results; the exit code is the agent's."""
    launch = JobLaunch(**json.loads(Path(launch_file).read_bytes()))
    try:
        with private_storage(Path(launch.work_dir)) as private:
            run_job(launch, private, input_uri or None, None, in_occlum=False)
            shutil.copytree(private.results, output)
    except AgentError as error:
        print(error, flush=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
