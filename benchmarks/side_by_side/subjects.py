"""What is measured: programs of this project, and what one would run without it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyspark
from confidential_spark.core.months import Month
from confidential_spark.enclave.class_archive import class_archive_path
from confidential_spark.enclave.java import find_java
from confidential_spark.enclave.spark import find_spark_home
from confidential_spark.settings import get_settings
from confidential_spark.simulation.trips.month import write_month

from scripts.class_archive import prepare_class_archive
from tests.support.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

MONTH = Month(2018, 5)
SUBMIT = str(Path(sys.executable).with_name("spark-submit"))
BASELINE = str(ROOT / "benchmarks" / "pyspark" / "nytaxi.py")
PI = str(Path(pyspark.__file__).parent / "examples/src/main/python/pi.py")
PARTITIONS = "100"


@dataclass(frozen=True)
class Subject:
    """A command to be measured.

    :param command: `{folder}` in it becomes an empty folder of this run's own.
    :param rows: of the month that it reads, which is made before it is measured; 0 for none.
    """

    title: str
    command: Sequence[str]
    rows: int = 0

    def argv(self, folder: Path) -> list[str]:
        """Return the command line of one run."""
        return [word.replace("{folder}", str(folder)) for word in self.command]


@dataclass(frozen=True)
class Bench:
    """The folder of what is made once: inputs, and the class archive that a warm `make run` has."""

    inputs: Path

    def month(self, rows: int) -> Path:
        """Return the folder of a synthetic month, which need not be there yet."""
        return self.inputs.resolve() / str(rows) / f"puYear={MONTH.year}" / f"puMonth={MONTH.month}"

    def prepare(self, subject: Subject) -> None:
        """Make the month that a subject reads, unless it is there."""
        if subject.rows:
            write_month(MONTH, subject.rows, self.inputs / str(subject.rows))

    @property
    def archive(self) -> str:
        """The class archive."""
        prepare_class_archive()
        return str(class_archive_path(get_settings().cache_dir, find_java().path, find_spark_home()))

    def make_run(self, rows: int) -> Subject:
        """Return all four stages."""
        command = ("make", "--no-print-directory", "run", f"MONTH={MONTH}", f"INPUT={self.month(rows)}")
        return Subject(f"make run, {rows:,} rows", command, rows)

    def spark_stage(self, rows: int) -> Subject:
        """Return the job alone, as the agent runs it."""
        folders = (self.archive, str(self.month(rows)), "--", "--month", str(MONTH))
        return Subject(f"Spark stage, {rows:,} rows", program("spark_stage", "nytaxi", *folders), rows)

    def default_submit(self, rows: int) -> Subject:
        """Return the baseline (a): the job's PySpark form under a default spark-submit."""
        places = ("--input", self.month(rows).as_uri(), "--output", "{folder}")
        command = (SUBMIT, BASELINE, "--month", str(MONTH), *places)
        return Subject(f"(a) spark-submit, {rows:,} rows", command, rows)

    def bare_count(self, rows: int) -> Subject:
        """Return what the project was seeded with."""
        file = str(ROOT / "benchmarks" / "programs" / "bare_count.py")
        command = (SUBMIT, file, str(self.month(rows)))
        return Subject(f"bare count + one aggregation, {rows:,} rows", command, rows)

    def recount(self, rows: int) -> Subject:
        """Return the checks' recount alone."""
        command = program("recounted", str(MONTH), str(self.month(rows)))
        return Subject(f"DuckDB's recount, {rows:,} rows", command, rows)

    def recount_per_row(self, rows: int) -> Subject:
        """Return the recount as it was when the goal for `make run` was set."""
        command = program("recounted_per_row", str(MONTH), str(self.month(rows)))
        return Subject(f"DuckDB's recount of then, {rows:,} rows", command, rows)

    def engine(self, name: str, rows: int) -> Subject:
        """Return another engine's sums of the month."""
        command = program("engine_month", name, str(self.month(rows)))
        return Subject(f"{name}, sums only, {rows:,} rows", command, rows)

    def pi(self) -> Subject:
        """Return SparkPi as the agent runs it."""
        command = program("spark_stage", "sparkpi", self.archive, "--", "--partitions", PARTITIONS)
        return Subject("SparkPi, our launcher", command)


DEFAULT_PI = Subject("SparkPi, spark-submit", (SUBMIT, PI, PARTITIONS))


def program(name: str, *arguments: str) -> tuple[str, ...]:
    """Return the command of one of this folder's programs."""
    return (sys.executable, "-m", f"benchmarks.programs.{name}", *arguments)


def sequence(subject: Subject, times: int) -> Subject:
    """Return a subject that is run several times, one after the other."""
    loop = f'for _ in $(seq {times}); do "$@" || exit; rm -rf "$0"/*; done'
    title = f"{times} × {subject.title}"
    return Subject(title, ("bash", "-c", loop, "{folder}", *subject.command), subject.rows)


def environment() -> dict[str, str]:
    """Return what every command finds in its environment."""
    return os.environ | {
        "PYTHONPATH": f"{ROOT / 'plugins'}:{ROOT}",
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
        # A busy machine makes slow figures, which say so, and not none.
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "600",
    }
