"""The enclave's share of one month: wall time, CPU time and peak memory, as PySpark job and in three steps.

All forms run in turn, so that another program's load falls on each; the last lines compare their medians.

PYTHONPATH=plugins:. python -m benchmarks.spark_month --month 2018-05 --input FOLDER [--java PATH]
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import time
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from confidential_spark.agent.job.steps import run_job
from confidential_spark.agent.launch.private_storage import private_storage
from confidential_spark.enclave.class_archive import TrainingJob, build_class_archive, class_archive_path
from confidential_spark.enclave.java import find_java
from confidential_spark.enclave.spark import SparkRuntime, choose_runtime, host_installation

from benchmarks.side_by_side.cost import PeakMemory
from tests.support.job_launch import job_launch
from tests.support.places import ROOT
from tests.support.pyspark_baseline import submit

if TYPE_CHECKING:
    from collections.abc import Callable

JOB = ROOT / "include" / "jobs" / "nytaxi.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--month", required=True)
    parser.add_argument("--input", type=Path, required=True, help="folder of Parquet files")
    parser.add_argument("--java", type=Path, help="default: what a run would take")
    parser.add_argument("--memory", default="2g")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()

    size = sum(file.stat().st_size for file in options.input.glob("*.parquet"))
    java = find_java([options.java.resolve()] if options.java else None)
    asked = TrainingJob("nytaxi", JOB, ["--month", options.month], options.input.resolve().as_uri())
    print(f"Java {java.version} ({java.path}), {size:,} bytes of input, {options.cores} cores")
    with TemporaryDirectory() as cache:

        def runtime(archive: Path | None) -> SparkRuntime:
            return choose_runtime(
                input_bytes=size,
                cores=options.cores,
                memory=options.memory,
                installation=host_installation(java=java, archive=archive),
            )

        plain = runtime(None)
        archive = class_archive_path(Path(cache), java.path, plain.spark_home)
        started = time.monotonic()
        assert build_class_archive(plain, asked, archive)
        print(f"archive built: {time.monotonic() - started:.1f} s, {archive.stat().st_size:,} bytes")
        forms: dict[str, Callable[[Path], list[str]]] = {
            "PySpark": lambda folder: pyspark_month(plain, asked, folder),
            "three steps": lambda folder: three_steps(plain, asked, folder),
            "with archive": lambda folder: three_steps(runtime(archive), asked, folder),
        }
        measured: dict[str, list[Measured]] = {name: [] for name in forms}
        for _ in range(options.repeat):
            for name, form in forms.items():
                measured[name].append(measure(form))
                print(f"{name:13} {measured[name][-1].text()}")
    compare(measured, "three steps", "PySpark")
    compare(measured, "with archive", "three steps")


def pyspark_month(runtime: SparkRuntime, job: TrainingJob, folder: Path) -> list[str]:
    """Run the job as it was before, and return its lines."""
    arguments = [*job.arguments, "--input", job.input_uri, "--output", str(folder / "output")]
    return submit(runtime, arguments, folder / "work")


def three_steps(runtime: SparkRuntime, asked: TrainingJob, folder: Path) -> list[str]:
    """Run the job as the agent does, and return its lines."""
    launch = job_launch(runtime, asked.name, asked.arguments, folder / "work")
    with private_storage(folder / "work") as private, redirect_stdout(StringIO()) as said:
        run_job(launch, private, asked.input_uri, None, in_occlum=False)
    return said.getvalue().splitlines()


@dataclass(frozen=True)
class Measured:
    """One run: seconds, MiB, and the job's own word for the aggregation."""

    wall: float
    cpu: float
    peak: float
    aggregation: str

    def text(self) -> str:
        return f"{self.wall:.1f} s wall, {self.cpu:.1f} s CPU, {self.peak:.0f} MiB · {self.aggregation}"


def compare(measured: dict[str, list[Measured]], one: str, other: str) -> None:
    """Print the ratios of the medians."""

    def median(name: str, figure: str) -> float:
        return float(statistics.median(getattr(run, figure) for run in measured[name]))

    ratios = (
        f"{median(one, figure) / median(other, figure):.2f} {figure}" for figure in ("wall", "cpu", "peak")
    )
    print(f"{one} / {other}: {', '.join(ratios)}")


def measure(form: Callable[[Path], list[str]]) -> Measured:
    """Run the job once."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "output").mkdir()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.monotonic()
        with PeakMemory(os.getpid()) as memory:
            lines = form(folder)
        wall = time.monotonic() - started
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    aggregation = next(line for line in lines if line.startswith("Aggregation duration"))
    return Measured(wall, cpu, memory.peak_kib / 1024, aggregation)


if __name__ == "__main__":
    main()
