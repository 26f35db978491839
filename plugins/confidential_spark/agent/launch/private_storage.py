"""The enclave's private storage: what the host can neither read nor change while a job runs.

Spark reads its input long after the agent hashed it, and the agent hashes results after Spark wrote them. On
the host's file system both could be exchanged in between, so both happen on files that the host cannot reach.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from confidential_spark.agent.attestation.measurement import IDENTITY_VARIABLE
from confidential_spark.agent.errors import AgentError
from confidential_spark.agent.launch import image_paths as image
from confidential_spark.agent.launch.launch_file import refuse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import PurePosixPath

    from confidential_spark.agent.launch.launch_file import ExecutorLaunch, JobLaunch, LaunchSpec

CLASS_ARCHIVE = "-XX:SharedArchiveFile="
# In Occlum's private layer, which is new with each enclave.
STARTED = Path("/tmp/.enclave-agent-started")  # noqa: S108 - the enclave's own


@dataclass(frozen=True)
class PrivateStorage:
    """What one job leaves on its way; all of it is gone when the job is over.

    :param input: the same path in driver and executors, because Spark's plan names it.
    :param spark: folder of Spark's own files, which the runner does not stay to remove.
    :param request: file for what the job asks of Spark.
    :param rows: folder for what Spark answers.
    """

    input: Path
    spark: Path
    request: Path
    rows: Path
    results: Path


def claim_enclave() -> None:
    """Refuse a second launch in one enclave: `occlum exec` would start it beside the first one's files.

    :raises AgentError: ``launch-invalid``.
    """
    # Both variables come from Occlum.json or its stand-in; a host sets none.
    if "OCCLUM" not in os.environ or IDENTITY_VARIABLE in os.environ:
        return
    try:
        os.close(os.open(STARTED, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        refuse("the enclave", "a second launch in it", "one launch for each `occlum run`")


def require_own_files(spec: LaunchSpec, launch: JobLaunch) -> None:
    """Refuse programs that the measurement does not cover, and scratch space that the host can reach.

    :raises AgentError: ``launch-invalid``, naming the key.
    """
    require_own_programs(spec, launch)
    if _in_image(spec):
        _require_images("job_file", launch.job_file, image.JOBS_DIR / f"{launch.job}.py")
        if spec.jobs_dir is not None:
            _require_images("jobs_dir", spec.jobs_dir, image.JOBS_DIR)
    elif spec.jobs_dir and Path(launch.job_file).resolve().parent != Path(spec.jobs_dir).resolve():
        refuse("job_file", launch.job_file, f"a file in jobs_dir {spec.jobs_dir}, which is measured")


def require_own_programs(spec: LaunchSpec, launch: JobLaunch | ExecutorLaunch) -> None:
    """In an image, refuse Java, Spark, Python and class archives but its own, and a work folder of the host.

    A path outside the host's mount is not enough: the image has more programs than those that were meant, and
    each runs what its arguments name (`cProfile.py` as a job file).

    :raises AgentError: ``launch-invalid``, naming the key.
    """
    if not _in_image(spec):
        return
    _require_images("java", launch.java, image.JAVA)
    _require_images("spark_home", launch.spark_home, image.SPARK_HOME)
    _require_images("python", launch.python, image.PYTHON)
    _require_private("work_dir", launch.work_dir)
    for option in launch.jvm_options:
        if option.startswith(CLASS_ARCHIVE):
            if spec.in_occlum:
                refuse("jvm_options", option, "no class archive: an image for hardware has none")
            _require_images("jvm_options", option.removeprefix(CLASS_ARCHIVE), _class_archive(spec))


def _in_image(spec: LaunchSpec) -> bool:
    """Whether this is Occlum, or its stand-in in the simulated image; elsewhere paths are a developer's."""
    return spec.in_occlum or IDENTITY_VARIABLE in os.environ


def _class_archive(spec: LaunchSpec) -> PurePosixPath:
    return image.POD_CLASS_ARCHIVE if spec.distributed or spec.executor else image.CLASS_ARCHIVE


def _require_images(name: str, path: str, own: PurePosixPath) -> None:
    if path != str(own):
        refuse(name, path, f"the image's own: {own}")


def _require_private(name: str, path: str) -> None:
    """Accept one spelling only: what is judged must be what is used, whatever a host does to its links."""
    if str(Path(path).resolve()) != path or Path(path).is_relative_to(image.HOST_DIR):
        refuse(name, path, f"a path without links, outside the host's mount {image.HOST_DIR}")


@contextmanager
def private_storage(work_dir: Path) -> Iterator[PrivateStorage]:
    """Make empty folders below ``work_dir``, for the owner only, and remove them at the end.

    :raises AgentError: ``work-dir-unusable``.
    """
    try:
        work_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        (work_dir / "input").mkdir(mode=0o700)
        folder = TemporaryDirectory(prefix="private-", dir=work_dir, ignore_cleanup_errors=True)
        private = Path(folder.name)
        storage = PrivateStorage(
            input=work_dir / "input",
            spark=private / "spark",
            request=private / "request.json",
            rows=private / "rows",
            results=private / "results",
        )
        for path in (storage.spark, storage.rows, storage.results):
            path.mkdir(mode=0o700)
    except OSError as error:
        raise work_dir_unusable(work_dir, error) from error
    try:
        with folder:
            yield storage
    finally:
        shutil.rmtree(storage.input, ignore_errors=True)


def work_dir_unusable(path: Path, error: OSError) -> AgentError:
    """Return the error for scratch space that cannot be written."""
    return AgentError(
        "The work folder cannot be used.",
        code="work-dir-unusable",
        got=error.strerror,
        expected=str(path),
        action="make room in work_dir, or correct its permissions",
    )
