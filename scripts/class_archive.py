"""Teach the JVM Spark's classes once, so that every later job on this machine starts in half the time."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from confidential_spark.core.months import Month
from confidential_spark.enclave.class_archive import TrainingJob, build_class_archive, class_archive_path
from confidential_spark.enclave.java import find_java
from confidential_spark.enclave.spark import choose_runtime, find_spark_home, host_installation
from confidential_spark.jobs.nytaxi import NYTAXI
from confidential_spark.settings import get_settings

TRAINING_MONTH = Month(2018, 5)
TRAINING_ROWS = 2_000


def prepare_class_archive() -> None:
    """Make the class archive when there is none; Spark works without it, only slower.

    :raises ConfigurationError: there is no fit Java or no Spark, which a run would not survive either.
    """
    settings = get_settings()
    java = find_java()
    archive = class_archive_path(settings.cache_dir, java.path, find_spark_home())
    if archive.is_file():
        return
    # Imported late: what is made once would cost each run the import of PyArrow.
    from confidential_spark.simulation.trips.month import write_month

    print("Preparing Spark's class archive (once, about a minute) …", flush=True)
    with TemporaryDirectory(prefix="class-archive-") as folder:
        month = write_month(TRAINING_MONTH, TRAINING_ROWS, Path(folder))
        job = TrainingJob(
            name=NYTAXI.name,
            file=NYTAXI.file(settings.jobs_dir),
            arguments=["--month", str(TRAINING_MONTH)],
            input_uri=month.as_uri(),
        )
        runtime = choose_runtime(
            input_bytes=0,
            cores=settings.spark_cores,
            memory=settings.spark_memory,
            installation=host_installation(java=java),
        )
        build_class_archive(runtime, job, archive)


if __name__ == "__main__":
    prepare_class_archive()
