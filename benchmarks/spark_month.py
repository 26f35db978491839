"""Spark's share of one month: wall time, CPU time and peak memory, with and without the class archive.

Both run in turn, so that another program's load falls on both; the last line compares their medians.

python benchmarks/spark_month.py --month 2018-05 --input /data/puYear=2018/puMonth=5 [--java PATH]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from confidential_spark.agent.spark_process import SparkCommand, run_spark
from confidential_spark.enclave.class_archive import build_class_archive, class_archive_path
from confidential_spark.enclave.java import find_java
from confidential_spark.enclave.spark import SparkRuntime, choose_runtime, host_installation

JOB = Path(__file__).resolve().parents[1] / "include" / "jobs" / "nytaxi.py"
SAMPLE_SECONDS = 0.1


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
    program = [str(JOB), "--month", options.month, "--input", options.input.resolve().as_uri()]
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
        assert build_class_archive(plain, program, archive)
        print(f"archive built:   {time.monotonic() - started:.1f} s, {archive.stat().st_size:,} bytes")
        without, with_archive = [], []
        for _ in range(options.repeat):
            without.append(measure(plain, program))
            print(f"without archive: {without[-1].text()}")
            with_archive.append(measure(runtime(archive), program))
            print(f"with archive:    {with_archive[-1].text()}")
    wall, cpu = (ratio(with_archive, without, figure) for figure in ("wall", "cpu"))
    print(f"with / without:  {wall} wall, {cpu} CPU")


@dataclass(frozen=True)
class Measured:
    """One run: seconds, MiB, and the job's own word for the aggregation."""

    wall: float
    cpu: float
    peak: float
    aggregation: str

    def text(self) -> str:
        return f"{self.wall:.1f} s wall, {self.cpu:.1f} s CPU, {self.peak:.0f} MiB RSS · {self.aggregation}"


def ratio(ours: list[Measured], others: list[Measured], figure: str) -> str:
    """Return the ratio of the medians."""
    ours_median, others_median = (
        statistics.median(getattr(run, figure) for run in runs) for runs in (ours, others)
    )
    return f"{ours_median / others_median:.2f}"


def measure(runtime: SparkRuntime, program: list[str]) -> Measured:
    """Run the job once."""
    with TemporaryDirectory() as folder:
        output = Path(folder) / "output"
        output.mkdir()
        command = SparkCommand(
            java=str(runtime.java),
            spark_home=str(runtime.spark_home),
            python=str(runtime.python),
            jvm_options=runtime.jvm_options,
            spark_conf=runtime.spark_conf,
            program=[*program, "--output", str(output)],
            work_dir=Path(folder) / "work",
        )
        lines: list[str] = []
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.monotonic()
        with PeakMemory() as memory:
            run_spark(command, lines.append, in_occlum=False)
        wall = time.monotonic() - started
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    aggregation = next(line for line in lines if line.startswith("Aggregation duration"))
    return Measured(wall, cpu, memory.peak / 1024, aggregation)


class PeakMemory:
    """Samples the resident memory of this process' children."""

    def __init__(self) -> None:
        self.peak = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            self.peak = max(self.peak, sum(map(resident_kib, descendants("self"))))


def descendants(process: str) -> list[str]:
    """Return the ids of all children and their children."""
    try:
        tasks = Path(f"/proc/{process}/task").glob("*/children")
        children = [child for file in tasks for child in file.read_text().split()]
    except OSError:
        return []
    return children + [grandchild for child in children for grandchild in descendants(child)]


def resident_kib(process: str) -> int:
    """Return the resident memory of a process in KiB, 0 when it is gone."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Rss:")), 0)


if __name__ == "__main__":
    main()
