"""The enclave's share of a job, as the agent runs it: `spark_stage JOB ARCHIVE [INPUT] -- ARGUMENT…`."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from confidential_spark.agent.job.steps import run_job
from confidential_spark.agent.launch.private_storage import private_storage
from confidential_spark.enclave.spark import choose_runtime, host_installation

from tests.support.job_launch import job_launch

CORES, MEMORY = 2, "2g"


def main() -> None:
    split = sys.argv.index("--")
    (job, archive, *folders), arguments = sys.argv[1:split], sys.argv[split + 1 :]
    files = [file for folder in folders for file in Path(folder).glob("*.parquet")]
    runtime = choose_runtime(
        input_bytes=sum(file.stat().st_size for file in files),
        cores=CORES,
        memory=MEMORY,
        installation=host_installation(archive=Path(archive)),
    )
    with TemporaryDirectory() as work, private_storage(Path(work) / "work") as private:
        launch = job_launch(runtime, job, arguments, Path(work) / "work")
        input_uri = Path(folders[0]).as_uri() if folders else None
        run_job(launch, private, input_uri, None, in_occlum=False)


if __name__ == "__main__":
    main()
