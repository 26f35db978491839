"""Files of packages that are installed beside Airflow, compared with what their wheels brought.

Of PySpark the image contains what the runner's SQL needs: every byte is measured and loaded into the
enclave's file system. Its Python, machine learning, graphs, Hive, other cluster managers, streaming state,
shells and examples stay outside.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from confidential_spark.core.errors import ConfigurationError
from confidential_spark.image_build.context import ContextFile, changed

if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.metadata import PackagePath
    from pathlib import PurePath

KEPT = re.compile(r"jars/[^/]+\.jar|licenses/[^/]+")
UNUSED_JARS = re.compile(
    "|".join(
        (
            # Python beside the JVM, and packages that a job would fetch
            r"py4j-|pickle-|arrow-|flatbuffers-|ivy-",
            # machine learning and graphs
            r"spark-(mllib|mllib-local|graphx)_",
            r"breeze|spire|algebra_|cats-kernel_|JTransforms|JLargeArrays|arpack|lapack|blas-|jniloader",
            # Hive; ORC needs hive-storage-api
            r"spark-hive|hive-(?!storage-api)|datanucleus-|derby-|jdo-api|javax\.jdo|jta-|transaction-api",
            r"HikariCP|bonecp|commons-(dbcp|pool)-|libthrift|libfb303|super-csv|opencsv|ST4-|antlr-runtime-3",
            r"jpam|stax-api|javolution|json-1",
            # other cluster managers
            r"spark-(mesos|yarn)_|mesos-|hadoop-yarn-|zookeeper-|curator-",
            # shells, streams and their state on disk
            r"spark-(repl|streaming)_|scala-compiler-|jline-|rocksdbjni-|leveldbjni-",
            # other systems' native parts
            r"netty-transport-(native|classes)-kqueue|netty-transport-native-epoll-.*aarch",
        )
    )
)


def installed_files(
    package: str, folder: str, keep: Callable[[PurePosixPath], bool] = lambda _: True
) -> dict[str, ContextFile]:
    """Return an installed package's files below ``folder``, by their path relative to it.

    :param keep: whether a file, by that path, is wanted.
    :raises ConfigurationError: ``package-missing``: not installed, or nothing below the folder.
    :raises InputError: ``build-input-changed``: a file is not the one its wheel brought (RECORD, PEP 376).
    """
    try:
        listed = distribution(package).files or []
    except PackageNotFoundError:
        listed = []
    paths = {path: _below(path, folder) for path in listed}
    wanted = {str(inner): path for path, inner in paths.items() if inner is not None and keep(inner)}
    if not wanted:
        raise ConfigurationError(
            f"The package {package} is not installed, or not completely.",
            code="package-missing",
            got=f"no file below {folder}",
            expected="the packages of requirements.txt",
            action="run `make install`",
        )
    return {inner: _verified(path) for inner, path in sorted(wanted.items())}


def _below(path: PackagePath, folder: str) -> PurePosixPath | None:
    inner = PurePosixPath(*path.parts)
    # RECORD also names files outside of the package, such as ../../../bin/spark-submit.
    if inner.is_relative_to(folder) and ".." not in inner.parts and inner.suffix != ".pyc":
        return inner.relative_to(folder)
    return None


def _verified(path: PackagePath) -> ContextFile:
    recorded = f"{path.hash.mode}={path.hash.value}" if path.hash else "no digest in RECORD"
    try:
        file = ContextFile.of(Path(str(path.locate())))
    except OSError as error:
        raise changed(str(path), error.strerror or "unreadable", recorded) from error
    found = f"sha256={urlsafe_b64encode(bytes.fromhex(file.sha256)).decode().rstrip('=')}"
    if found != recorded:
        raise changed(str(path), found, recorded)
    return file


def is_needed(path: PurePath) -> bool:
    """Return whether a file of the installed PySpark, named relative to it, belongs into the image."""
    return KEPT.fullmatch(path.as_posix()) is not None and UNUSED_JARS.match(path.name) is None
