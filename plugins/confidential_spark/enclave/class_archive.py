"""A class archive (AppCDS): Spark's classes, parsed and verified once, mapped at every later start.

It halves the start of a small job. It is a cache and nothing more: where it cannot be made or does not fit,
Spark starts without it.
"""

from __future__ import annotations

import hashlib
import logging
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from confidential_spark.agent.errors import AgentError
from confidential_spark.agent.job.job_file import JobFile
from confidential_spark.agent.job.runner_jars import Lock
from confidential_spark.agent.job.spark import JavaCommand, runner_main
from confidential_spark.core.errors import shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from confidential_spark.enclave.spark import SparkRuntime

log = logging.getLogger(__name__)

# To be raised when the class path changes, which the JVM compares before it maps an archive.
FORMAT = b"class archive v4"
TIMEOUT_SECONDS = 300


@dataclass(frozen=True)
class TrainingJob:
    """A small job whose classes are archived.

    :param input_uri: its input.
    """

    name: str
    file: Path
    arguments: Sequence[str]
    input_uri: str


def class_archive_path(cache_dir: Path, java: Path, spark_home: Path) -> Path:
    """Return where the archive for this Java and this Spark is, or would be.

    The name covers what the JVM compares before it maps an archive: its own build, and the jars' names, sizes
    and times.
    """
    digest = hashlib.sha256(FORMAT)
    release = java.parent.parent / "release"
    digest.update(release.read_bytes() if release.is_file() else bytes(java))
    for jar in [*map(Path, Lock.NO_SOCKETS.jars), *sorted((spark_home / "jars").glob("*.jar"))]:
        status = jar.stat()
        digest.update(f"{jar}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return cache_dir / f"spark-classes-{digest.hexdigest()[:16]}.jsa"


def build_class_archive(
    runtime: SparkRuntime, job: TrainingJob, archive: Path, timeout: float = TIMEOUT_SECONDS
) -> bool:
    """Run a job once to learn its classes, and archive them; about 40 s of one core.

    :param runtime: how Spark is started.
    :param archive: from :func:`class_archive_path`; there completely or not at all.
    :param timeout: seconds for each of the two steps.
    :returns: whether the archive is there; the reason why not is logged.
    """
    if archive.is_file():
        return True
    try:
        archive.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=archive.parent, prefix=".building-") as folder:
            made = _archive(runtime, job, Path(folder), timeout)
            made.replace(archive)
    except (OSError, subprocess.SubprocessError, AgentError) as error:
        log.warning("No class archive, Spark starts without: %s", shorten(_reason(error)))
        return False
    return True


def _archive(runtime: SparkRuntime, job: TrainingJob, folder: Path, timeout: float) -> Path:
    classes, made = folder / "classes.lst", folder / "made.jsa"
    training = _training(runtime, job, folder, classes)
    environment = training.environment()
    with training.files():
        _run(training.argv, environment, timeout)
        dump = [
            "-Xshare:dump",
            f"-XX:SharedClassListFile={classes}",
            f"-XX:SharedArchiveFile={made}",
        ]
        # Dumping needs more heap than a small job runs with.
        options = [option for option in runtime.jvm_options if not option.startswith("-Xmx")]
        dumping = replace(training, jvm_options=[*options, "-Xmx1g", *dump])
        class_path_end = dumping.argv.index("-cp") + 2
        _run(dumping.argv[:class_path_end], environment, timeout)
    return made


def _training(runtime: SparkRuntime, job: TrainingJob, folder: Path, classes: Path) -> JavaCommand:
    work_dir, request, rows = folder / "work", folder / "request.json", folder / "rows"
    for path in (work_dir, rows):
        path.mkdir()
    asked = JobFile(
        name=job.name,
        path=job.file,
        arguments=job.arguments,
        python=str(runtime.python),
        work_dir=work_dir,
        in_occlum=False,
    )
    request.write_bytes(asked.query(log.info))
    return JavaCommand(
        java=str(runtime.java),
        spark_home=str(runtime.spark_home),
        jvm_options=[*runtime.jvm_options, f"-XX:DumpLoadedClassList={classes}"],
        spark_conf=runtime.spark_conf,
        lock=Lock.NO_SOCKETS,
        main=runner_main(job.name, request, rows, job.input_uri, work_dir),
        work_dir=work_dir,
    )


def _run(argv: Sequence[str], environment: dict[str, str], timeout: float) -> None:
    subprocess.run(
        argv,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        check=True,
    )


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = (error.stderr or error.stdout or "").strip().splitlines()
        return f"exit code {error.returncode}: {lines[-1] if lines else 'no output'}"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"not done after {error.timeout:g} s"
    return str(error)
