"""The taxi job as it was in PySpark, by spark-submit: what the present one is compared with."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from confidential_spark.agent.job.spark import LOGGING

from tests.support.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from confidential_spark.enclave.spark import SparkRuntime

PROGRAM = ROOT / "benchmarks" / "pyspark" / "nytaxi.py"


def submit(runtime: SparkRuntime, arguments: Sequence[str], work_dir: Path) -> list[str]:
    """Run it in processes of its own and return its lines.

    :param work_dir: for scratch files; it need not be there.
    """
    work_dir.mkdir(exist_ok=True)
    settings, logging = work_dir / "spark.conf", work_dir / "log4j2.properties"
    settings.write_text("".join(f"{name} {value}\n" for name, value in runtime.spark_conf.items()))
    logging.write_text(LOGGING)
    command = [
        *(str(runtime.java), *runtime.jvm_options),
        *(f"-Dlog4j2.configurationFile={logging}", f"-Djava.io.tmpdir={work_dir}"),
        *("-cp", ":".join(sorted(map(str, Path(runtime.spark_home, "jars").glob("*.jar"))))),
        *("org.apache.spark.deploy.SparkSubmit", "--properties-file", str(settings)),
        *(str(PROGRAM), *arguments),
    ]
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(work_dir),
        "TZ": "UTC",
        "SPARK_HOME": str(runtime.spark_home),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_LOCAL_DIRS": str(work_dir),
        "PYSPARK_PYTHON": str(runtime.python),
        "PYTHONUNBUFFERED": "1",
        "MALLOC_ARENA_MAX": "1",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
