"""Makes the simulated image's class archive while the image is built: the last step of its Dockerfile."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from confidential_spark.core import image_layout
from confidential_spark.core.class_archive import build_class_archive
from confidential_spark.core.jobs import NYTAXI
from confidential_spark.core.spark_launch import SparkInstallation, choose_runtime
from confidential_spark.core.trip_schema import SYNTHETIC_KEY, SYNTHETIC_NOTICE, TRIP_COLUMNS, Kind

TRAINING_MONTH = "2018-05"
FIRST_TRIP = datetime(2018, 5, 1)
TRIPS = 500
CORES = 2
MEMORY = "2g"
TYPES = {
    Kind.STRING: pa.string(),
    Kind.TIMESTAMP: pa.timestamp("us"),
    Kind.INTEGER: pa.int32(),
    Kind.DOUBLE: pa.float64(),
}
# Values of a trip that the job accepts; the image has no DuckDB to make better ones with.
USUAL: dict[Kind, Any] = {Kind.STRING: "1", Kind.INTEGER: 1, Kind.DOUBLE: 2.5}


def main() -> int:
    """Run the job on a month of equal trips, and archive the classes it needed; 1 when that failed."""
    installation = SparkInstallation(
        java=Path(image_layout.JAVA),
        spark_home=Path(image_layout.SPARK_HOME),
        python=Path(image_layout.PYTHON),
    )
    runtime = choose_runtime(input_bytes=0, cores=CORES, memory=MEMORY, installation=installation)
    with TemporaryDirectory() as folder:
        write_training_month(Path(folder) / "trips.parquet")
        job = str(NYTAXI.file(Path(image_layout.JOBS_DIR)))
        program = [job, "--month", TRAINING_MONTH, "--input", Path(folder).as_uri()]
        made = build_class_archive(runtime, program, Path(image_layout.CLASS_ARCHIVE))
    return 0 if made else 1


def write_training_month(path: Path) -> None:
    """Write trips half an hour apart, marked as made up."""
    starts = [FIRST_TRIP + timedelta(minutes=30 * trip) for trip in range(TRIPS)]
    columns: dict[str, list[Any]] = {
        name: starts if kind is Kind.TIMESTAMP else [USUAL[kind]] * TRIPS
        for name, kind in TRIP_COLUMNS.items()
    }
    columns["tpepDropoffDateTime"] = [start + timedelta(minutes=15) for start in starts]
    schema = pa.schema(
        [(name, TYPES[kind]) for name, kind in TRIP_COLUMNS.items()],
        metadata={SYNTHETIC_KEY: SYNTHETIC_NOTICE.encode()},
    )
    pq.write_table(pa.table(columns, schema=schema), path, use_deprecated_int96_timestamps=True)


if __name__ == "__main__":
    sys.exit(main())
