"""Run one month of a job through all four stages on this machine and print a verdict.

The run is one of the DAG `nytaxi_local`, or of another job's or platform's, without a scheduler (see
`dag_run`). This program starts it, shows its progress, keeps its log and reads the published report at the
end.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from urllib.parse import quote, unquote, urlsplit

from confidential_spark.agent.protocol import TRUST_SIMULATED
from confidential_spark.core.errors import ConfidentialSparkError, ConfigurationError
from confidential_spark.core.months import Month
from confidential_spark.core.platforms import Platform
from confidential_spark.hooks.result_store import ResultStore
from confidential_spark.jobs import JOBS
from confidential_spark.jobs.input.location import local_folder, month_uri
from confidential_spark.jobs.input.manifest import data_files
from confidential_spark.jobs.report import RunReport
from confidential_spark.operators.attempt import attempt_prefix
from confidential_spark.settings import Settings, get_settings
from confidential_spark.verification import load_policy

from scripts.class_archive import prepare_class_archive
from scripts.local_airflow import ROOT, VAR, environment, prepare
from scripts.process_tree import end_descendants, end_with_parent, take_charge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from confidential_spark.jobs.job import SparkJob

MONTHLY_JOBS = sorted(name for name, job in JOBS.items() if job.monthly)
# A platform for hardware runs in simulation here, unless the deployment says otherwise.
SIMULATED_POLICY = "simulation-image"
# The marks are operators/base.py's, whose import takes seconds; what follows two blanks and a bracket is the
# logger's own.
FAILED = "✘"
STORY_LINE = re.compile(r"\] (?P<text>[▶…✔✘] .*?)(?:\s+\[airflow\.|$)")
HOME = VAR / "airflow"
END_PATIENCE_SECONDS = 5.0
VERIFIER = Path(sys.executable).with_name("confidential-spark")


def main() -> int:
    """Return 0 when the month was verified and published."""
    arguments = parse_arguments()
    take_charge()
    started = time.monotonic()
    try:
        month = Month.parse(arguments.month)
        month.require_complete()
        rows = synthetic_rows(arguments.rows)
        conf = run_conf(month, arguments.input)
        choose_policy(arguments.platform)
        run = LocalRun(JOBS[arguments.job], arguments.platform, month, arguments.home)
        with only_one_run(run) as at:
            prepare(run.home)
            if run.platform is Platform.LOCAL:
                prepare_class_archive()
            code = run_dag(run, at, conf, rows)
    except ConfidentialSparkError as error:
        print(f"REFUSED  {error.diagnostics()}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped; every process of the run is ended.", file=sys.stderr)
        return 130
    if code == 0:
        print(f"\n{verdict(run)}\n")
    print(f"{'Finished' if code == 0 else 'Failed'} after {time.monotonic() - started:.1f} s", flush=True)
    return code


@dataclass(frozen=True)
class LocalRun:
    """Which job runs for which month, where, and the folder of the Airflow that runs it."""

    job: SparkJob
    platform: Platform
    month: Month
    home: Path

    @property
    def dag_id(self) -> str:
        """The job's DAG on the platform."""
        return self.job.dag_id(self.platform)


def choose_policy(platform: Platform) -> None:
    """Run in simulation where nothing else is configured."""
    if platform is not Platform.LOCAL:
        os.environ.setdefault(f"CONFIDENTIAL_SPARK_{platform.upper()}_POLICY", SIMULATED_POLICY)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--platform", type=Platform, choices=list(Platform), default=Platform.LOCAL)
    parser.add_argument("--job", choices=MONTHLY_JOBS, default="nytaxi")
    parser.add_argument("--month", default="2018-05", help="YYYY-MM")
    parser.add_argument(
        "--input", default="", help="folder, file:// URI or template of trip records; empty: synthetic"
    )
    parser.add_argument("--rows", default="10000", help="rows of a synthetic month")
    parser.add_argument("--home", type=Path, default=HOME, help="the local Airflow's folder")
    return parser.parse_args()


def run_conf(month: Month, location: str) -> dict[str, str]:
    """Return the DAG run's parameters.

    :raises ConfigurationError: the location cannot be read on this platform.
    :raises InputError: the location has no Parquet files of the month.
    """
    return {"month": str(month), **({"input": input_uri(location, month)} if location else {})}


def input_uri(location: str, month: Month) -> str:
    """Return a folder, URI or template as the URI that the DAG takes, once the month's files are there."""
    is_uri = location.startswith("file:") or "://" in location
    named = location if is_uri else str(Path(location).expanduser().resolve())
    data_files(local_folder(month_uri(named, month)), month)
    path = unquote(urlsplit(named).path) if is_uri else named
    return f"file://{quote(path, safe='/{}:=')}"


def synthetic_rows(text: str) -> int:
    """Return the rows of a synthetic month, within the bounds of the setting.

    :raises ConfigurationError: ``rows-out-of-range``.
    """
    bounds = Settings.model_json_schema()["properties"]["synthetic_rows"]
    if re.fullmatch("[0-9]{1,9}", text, re.ASCII) and bounds["minimum"] <= int(text) <= bounds["maximum"]:
        return int(text)
    raise ConfigurationError(
        "That is not a size of a synthetic month.",
        code="rows-out-of-range",
        got=text or "nothing",
        expected=f"a whole number from {bounds['minimum']} to {bounds['maximum']}",
        action="correct ROWS=…, or leave it out",
    )


@contextmanager
def only_one_run(run: LocalRun) -> Iterator[datetime]:
    """Hold the one run of the Airflow in the run's home, yield its time, and remove its staging at the end.

    A run that was killed with this program is cleaned up by the next one, which reads the lock file.

    :raises ConfigurationError: ``run-in-progress``, naming the process that holds it.
    """
    run.home.mkdir(parents=True, exist_ok=True)
    with (run.home / "run.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(
                "Another `make run` is in progress here.",
                code="run-in-progress",
                got=holder(lock),
                expected="one local run at a time",
                action="wait for it, or use `make ui` to run months side by side",
            ) from error
        discard_staging(lock)
        at = datetime.now(UTC).replace(microsecond=0)
        record = {"process": os.getpid(), "at": at.isoformat(), "dag": run.dag_id, "month": str(run.month)}
        rewrite(lock, record)
        try:
            yield at
        finally:
            discard_staging(lock)
            rewrite(lock, None)


def read_record(lock: TextIO) -> dict[str, Any] | None:
    """Return what the run that holds, or last held, the lock wrote; None when it ended cleanly."""
    lock.seek(0)
    try:
        record = json.load(lock)
    except ValueError:
        return None
    complete = isinstance(record, dict) and record.keys() >= {"process", "at", "dag", "month"}
    return record if complete else None


def rewrite(lock: TextIO, record: dict[str, Any] | None) -> None:
    """Replace the lock file's content."""
    lock.seek(0)
    lock.truncate()
    if record is not None:
        json.dump(record, lock)
    lock.flush()


def holder(lock: TextIO) -> str:
    """Return who holds the lock, for people."""
    record = read_record(lock)
    return f"process {record['process']} since {record['at']}" if record else "an unknown process"


def discard_staging(lock: TextIO) -> None:
    """Remove what the run in the lock file staged and did not publish."""
    if record := read_record(lock):
        run = attempt_prefix(manual_run_id(datetime.fromisoformat(record["at"])))
        ResultStore(get_settings().results_dir, record["dag"]).discard_run(f"month={record['month']}", run)


def manual_run_id(at: datetime) -> str:
    """Return the id that Airflow gives to a manual run of that time."""
    return f"manual__{at.isoformat()}"


def run_dag(run: LocalRun, at: datetime, conf: dict[str, str], rows: int) -> int:
    """Run the DAG for the month, show its progress and return 0 or 1."""
    log_path = run.home / "logs" / f"run-{run.dag_id}-{run.month}.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    options = ["--at", at.isoformat(), "--conf", json.dumps(conf)]
    command = [sys.executable, "-m", "scripts.dag_run", run.dag_id, *options]
    env = {**environment(run.home), "CONFIDENTIAL_SPARK_SYNTHETIC_ROWS": str(rows)}
    enclave = "simulated enclave" if simulated(run.platform) else "enclave"
    print(
        f"{run.job.title} {run.month} · platform {run.platform} · {enclave} · starting (about 6 s) …",
        flush=True,
    )
    with log_path.open("w") as log, child_process(command, env) as process:
        failure = show(process.stdout or (), log.write)
        code = process.wait()
    if code < 0:
        print(f"The run's process was killed by signal {-code}.", file=sys.stderr)
    if code:
        print(f"\n{failure_notice(failure)}\nThe whole log: {short(log_path)}", file=sys.stderr)
    return 1 if code else 0


def simulated(platform: Platform) -> bool:
    """Say whether the platform's policy takes simulated evidence."""
    return load_policy(get_settings().policy_path(platform)).trust == TRUST_SIMULATED


def failure_notice(failure: str | None) -> str:
    """Return why a run failed, and where to read on, from the last line that told of a failure."""
    if failure is None:
        return "The run ended before one of its tasks could say why; the log's last lines do."
    task = failure.removeprefix(FAILED).split(":")[0].strip()
    return f"{failure}\nWhat to do: docs/runbooks/{task}.md"


def verdict(run: LocalRun) -> str:
    """Return the verdict of the month that was just published."""
    published = get_settings().results_dir / run.dag_id / f"month={run.month}"
    policy = get_settings().policy_path(run.platform)
    report = RunReport.read(published / "report.json")
    return report.verdict_text(short(published), short(policy), short(VERIFIER))


def short(path: Path) -> str:
    """Return a path as the reader of a terminal here would type it."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def show(lines: Iterable[str], keep: Callable[[str], object]) -> str | None:
    """Keep every line of the log, print the ones that tell the run's story, and return its last failure."""
    started = time.monotonic()
    failure = None
    for line in lines:
        keep(line)
        if story := STORY_LINE.search(line):
            text = story.group("text").strip()
            print(f"{time.monotonic() - started:6.1f} s  {text}", flush=True)
            failure = text if text.startswith(FAILED) else failure
    return failure


@contextmanager
def child_process(command: list[str], env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run a command; neither it nor what it started outlives this block or this program."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        preexec_fn=end_with_parent,
    )
    try:
        yield process
    except KeyboardInterrupt:
        print("\nStopping …", file=sys.stderr, flush=True)
        raise
    finally:
        end_descendants(END_PATIENCE_SECONDS)


if __name__ == "__main__":
    raise SystemExit(main())
