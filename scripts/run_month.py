"""Run a job, for one month where it is monthly, through all four stages on this machine; print a verdict.

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
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from confidential_spark.agent.protocol import TRUST_SIMULATED
from confidential_spark.core.error_parts import parts_of
from confidential_spark.core.errors import ConfidentialSparkError, ConfigurationError
from confidential_spark.core.months import Month
from confidential_spark.core.platforms import Platform
from confidential_spark.core.runbooks import RUNBOOKS, runbook_of
from confidential_spark.hooks.results.location import result_store
from confidential_spark.jobs import JOBS
from confidential_spark.jobs.job import publication_key
from confidential_spark.operators.attempt import attempt_prefix
from confidential_spark.settings import get_settings
from confidential_spark.verification import load_policy

from scripts.class_archive import prepare_class_archive
from scripts.local_airflow import (
    ROOT,
    VAR,
    disk_full,
    environment,
    is_full,
    not_writable,
    open_lock,
    prepare,
)
from scripts.process_tree import end_descendants, end_with_parent, take_charge
from scripts.run_choices import SYNTHETIC_ROWS, input_uri, job_named, platform_named, synthetic_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from confidential_spark.jobs.job import SparkJob

# A platform for hardware runs in simulation here, unless the deployment says otherwise.
SIMULATED_POLICY = "simulation-image"
# The marks are operators/base.py's, whose import takes seconds; what follows two blanks and a bracket is the
# logger's own.
DONE, FAILED = "✔", "✘"
STORY_LINE = re.compile(r"\] (?P<text>[▶…✔✘] .*?)(?:\s+\[airflow\.|$)")
HOME = VAR / "airflow"
END_PATIENCE_SECONDS = 5.0
VERIFIER = Path(sys.executable).with_name("confidential-spark")


def main() -> int:
    """Return 0 when the result was verified and published."""
    arguments = parse_arguments()
    take_charge()
    try:
        if arguments.rows:
            os.environ[SYNTHETIC_ROWS] = str(synthetic_rows(arguments.rows))
        run = chosen_run(arguments)
        conf = run_conf(run, arguments.input)
        choose_policy(run.platform)
        with only_one_run(run.home) as lock:
            prepare(run.home)
            if run.platform is Platform.LOCAL:
                prepare_class_archive()
            # What is made once is not the run's duration.
            started, run = time.monotonic(), replace(run, at=this_second())
            with staging(lock, run):
                code = run_dag(run, conf)
    except ConfidentialSparkError as error:
        print(f"REFUSED  {error.diagnostics()}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"REFUSED  {not_writable(arguments.home, error)}", file=sys.stderr)
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
    """Which job runs for which month, where and when, and the folder of the Airflow that runs it.

    :param month: None for a job that is not monthly.
    :param at: the run's time, to the second, and its id.
    """

    job: SparkJob
    platform: Platform
    month: Month | None
    home: Path
    at: datetime

    @property
    def dag_id(self) -> str:
        """The job's DAG on the platform."""
        return self.job.dag_id(self.platform)

    @property
    def key(self) -> str:
        """What the result is filed under."""
        return publication_key(self.job, self.month, manual_run_id(self.at))

    @property
    def title(self) -> str:
        """The job, and the month if there is one."""
        return f"{self.job.title} {self.month}" if self.month else self.job.title


def chosen_run(arguments: argparse.Namespace) -> LocalRun:
    """Return what the caller wants to run.

    :raises ConfidentialSparkError: there is no such job, platform or complete month.
    """
    job, month = job_named(arguments.job), None
    if job.monthly:
        month = Month.parse(arguments.month)
        month.require_complete()
    return LocalRun(job, platform_named(arguments.platform), month, arguments.home, this_second())


def this_second() -> datetime:
    """Return the time, as precisely as a run's id tells it."""
    return datetime.now(UTC).replace(microsecond=0)


def choose_policy(platform: Platform) -> None:
    """Run in simulation where nothing else is configured."""
    if platform is not Platform.LOCAL:
        os.environ.setdefault(f"CONFIDENTIAL_SPARK_{platform.upper()}_POLICY", SIMULATED_POLICY)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--platform", default=Platform.LOCAL, help=", ".join(Platform))
    parser.add_argument("--job", default="nytaxi", help=", ".join(JOBS))
    parser.add_argument("--month", default="2018-05", help="YYYY-MM")
    parser.add_argument(
        "--input",
        default="",
        help="folder, file, address of blobs or template of trip records; empty: synthetic",
    )
    parser.add_argument("--rows", default="", help=f"rows of a synthetic month; empty: {SYNTHETIC_ROWS}")
    parser.add_argument("--home", type=Path, default=HOME, help="the local Airflow's folder")
    return parser.parse_args()


def run_conf(run: LocalRun, location: str) -> dict[str, str]:
    """Return the DAG run's parameters.

    :raises ConfigurationError: the location cannot be read on this platform, or the job reads none.
    :raises InputError: the location has no Parquet files of the month.
    """
    if run.month:
        return {"month": str(run.month), **({"input": input_uri(location, run.month)} if location else {})}
    if location:
        raise ConfigurationError(
            f"{run.job.title} reads no input.", code="input-unused", got=location, action="leave out INPUT=…"
        )
    return {}


@contextmanager
def only_one_run(home: Path) -> Iterator[TextIO]:
    """Hold the one run of the Airflow in ``home``.

    A run that was killed with this program is cleaned up by the next one, which reads the lock file.

    :raises ConfigurationError: ``run-in-progress``, naming the process that holds it, or the folder cannot
        be written.
    """
    with open_lock(home, "run.lock") as lock:
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
        rewrite(lock, {"process": os.getpid(), "since": this_second().isoformat()})
        yield lock
        rewrite(lock, None)


@contextmanager
def staging(lock: TextIO, run: LocalRun) -> Iterator[None]:
    """Remove what the run staged and did not publish, now or, when this program is killed, the next time."""
    at = run.at.isoformat()
    rewrite(lock, {"process": os.getpid(), "since": at, "at": at, "dag": run.dag_id, "key": run.key})
    try:
        yield
    finally:
        with suppress(ConfidentialSparkError):
            # What refuses this has refused the task that cleans up as well, which has said so.
            discard_staging(lock)


def read_record(lock: TextIO) -> dict[str, Any]:
    """Return what the run that holds, or last held, the lock wrote; nothing when it ended cleanly."""
    lock.seek(0)
    try:
        record = json.load(lock)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


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
    return f"process {record.get('process', 'unknown')} since {record.get('since', 'a moment ago')}"


def discard_staging(lock: TextIO) -> None:
    """Remove what the run in the lock file staged and did not publish."""
    record = read_record(lock)
    if record.keys() >= {"at", "dag", "key"}:
        run = attempt_prefix(manual_run_id(datetime.fromisoformat(record["at"])))
        result_store(get_settings().results_dir, record["dag"]).discard_run(record["key"], run)


def manual_run_id(at: datetime) -> str:
    """Return the id that Airflow gives to a manual run of that time."""
    return f"manual__{at.isoformat()}"


def run_dag(run: LocalRun, conf: dict[str, str]) -> int:
    """Run the DAG, show its progress and return 0 or 1."""
    log_path = run.home / "logs" / f"run-{run.dag_id}{f'-{run.month}' if run.month else ''}.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    file = ROOT / "dags" / f"{run.job.name}.py"
    options = ["--file", str(file), "--at", run.at.isoformat(), "--conf", json.dumps(conf)]
    command = [sys.executable, "-m", "scripts.dag_run", run.dag_id, *options]
    enclave = "simulated enclave" if simulated(run.platform) else "enclave"
    print(
        f"{run.title} · platform {run.platform} · {enclave} · starting (about 6 s) …",
        flush=True,
    )
    with (
        log_path.open("w", encoding="utf-8") as log,
        child_process(command, environment(run.home)) as process,
    ):
        cause = show(process.stdout or (), log.write)
        code = process.wait()
    if code < 0:
        print(f"The run's process was killed by signal {-code}.", file=sys.stderr)
    if code and cause is None and is_full(run.home):
        raise disk_full(run.home)
    if code:
        print(f"\n{failure_notice(cause)}\nThe whole log: {short(log_path)}", file=sys.stderr)
    return 1 if code else 0


def simulated(platform: Platform) -> bool:
    """Say whether the platform's policy takes simulated evidence."""
    return load_policy(get_settings().policy_path(platform)).trust == TRUST_SIMULATED


def failure_notice(cause: str | None) -> str:
    """Return why a run failed, and where to read on."""
    if cause is None:
        return "The run ended before one of its tasks could say why; the log's last lines do."
    task, parts = task_of(cause), parts_of(cause.partition(": ")[2])
    code, what = parts.pop("code", ""), parts.pop("what", "")
    lines = [f"{FAILED} {task}: [{code}] {what}" if code else cause]
    lines += [f"  {name + ':':<10}{part}" for name, part in parts.items()] if code else []
    return "\n".join([*lines, f"What to do: {runbook_of(code, task, ROOT / RUNBOOKS)}"])


def task_of(line: str) -> str:
    """Return the task that a line of the story is about."""
    return line[1:].split(":")[0].strip()


def verdict(run: LocalRun) -> str:
    """Return the verdict of the result that was just published."""
    location = get_settings().results_dir
    version = result_store(location, run.dag_id).published(run.key)
    report, policy = version.report(), get_settings().policy_path(run.platform)
    published = short(location / run.dag_id / run.key) if isinstance(location, Path) else version.location
    program = JOBS[report.job].file(get_settings().jobs_dir)
    return report.verdict_text(str(published), short(policy), short(program), short(VERIFIER))


def short(path: Path) -> str:
    """Return a path as the reader of a terminal here would type it."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def show(lines: Iterable[str], keep: Callable[[str], object]) -> str | None:
    """Keep every line of the log, print the ones that tell the run's story, and return why the run failed.

    That is the last failure of the first task that did not succeed later: what fails after it, such as the
    removal of what it left, only follows from it.
    """
    started = time.monotonic()
    failures: dict[str, str] = {}
    for line in lines:
        keep(line)
        if story := STORY_LINE.search(line):
            text = story.group("text").strip()
            print(f"{time.monotonic() - started:6.1f} s  {text}", flush=True)
            if text.startswith(FAILED):
                failures[task_of(text)] = text
            elif text.startswith(DONE):
                failures.pop(task_of(text), None)
    return next(iter(failures.values()), None)


@contextmanager
def child_process(command: list[str], env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run a command; neither it nor what it started outlives this block or this program."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
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
