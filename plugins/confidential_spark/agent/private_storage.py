"""The enclave's private storage: what the host can neither read nor change while a job runs.

Spark reads its input long after the agent hashed it, and the agent hashes results after Spark wrote them. On
the host's file system both could be exchanged in between, so both happen on files that the host cannot reach.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from confidential_spark.agent.errors import AgentError
from confidential_spark.agent.exit_codes import ExitCode
from confidential_spark.agent.launch import refuse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from confidential_spark.agent.launch import ExecutorLaunch, JobLaunch, LaunchSpec

# Occlum's default mount of the host's files: readable, but neither measured nor protected.
HOST_MOUNT = Path("/host")
CLASS_ARCHIVE = "-XX:SharedArchiveFile="


@dataclass(frozen=True)
class PrivateStorage:
    """Folders of one job; they are gone when the job is over."""

    input: Path
    results: Path


def require_own_files(spec: LaunchSpec, launch: JobLaunch) -> None:
    """Refuse programs that the measurement does not cover, and scratch space that the host can reach.

    :raises AgentError: ``launch-invalid``, naming the key.
    """
    require_own_programs(spec, launch)
    if spec.in_occlum:
        _require_own("job_file", launch.job_file)
    elif spec.jobs_dir and Path(launch.job_file).resolve().parent != Path(spec.jobs_dir).resolve():
        refuse("job_file", launch.job_file, f"a file in jobs_dir {spec.jobs_dir}, which is measured")


def require_own_programs(spec: LaunchSpec, launch: JobLaunch | ExecutorLaunch) -> None:
    """Refuse Java, Spark, Python, a class archive or scratch space on the host's mount.

    :raises AgentError: ``launch-invalid``, naming the key.
    """
    if spec.in_occlum:
        for name in ("java", "spark_home", "python", "work_dir"):
            _require_own(name, getattr(launch, name))
        for option in launch.jvm_options:
            if option.startswith(CLASS_ARCHIVE):
                _require_own("jvm_options", option.removeprefix(CLASS_ARCHIVE))


def _require_own(name: str, path: str) -> None:
    if Path(path).resolve().is_relative_to(HOST_MOUNT):
        refuse(name, path, f"a path outside the host's mount {HOST_MOUNT}")


@contextmanager
def private_storage(work_dir: Path) -> Iterator[PrivateStorage]:
    """Make empty folders below ``work_dir``, for the owner only, and remove them at the end.

    :raises AgentError: ``work-dir-unusable``.
    """
    try:
        work_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = TemporaryDirectory(prefix="private-", dir=work_dir, ignore_cleanup_errors=True)
        storage = PrivateStorage(Path(folder.name) / "input", Path(folder.name) / "results")
        storage.input.mkdir()
        storage.results.mkdir()
    except OSError as error:
        raise AgentError(
            "The work folder cannot be used.",
            exit_code=ExitCode.BAD_LAUNCH,
            code="work-dir-unusable",
            got=error.strerror,
            expected=str(work_dir),
            action="correct work_dir or its permissions",
        ) from error
    with folder:
        yield storage
