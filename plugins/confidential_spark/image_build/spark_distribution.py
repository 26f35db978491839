"""Which of PySpark's files the enclave image contains: what a SQL or core job needs, and no more.

Every byte is measured, loaded into the enclave's file system and open to the job, so what no job uses stays
outside: machine learning, graphs, Hive, other cluster managers, streaming state, shells and examples.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import PurePath

KEPT = re.compile(r"jars/[^/]+\.jar|python/lib/[^/]+\.zip|licenses/[^/]+")
UNUSED_JARS = re.compile(
    "|".join(
        (
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
            r"spark-(repl|streaming)_|scala-compiler-|jline-|rocksdbjni-",
            # other systems' native parts
            r"netty-transport-(native|classes)-kqueue|netty-transport-native-epoll-.*aarch",
        )
    )
)


def is_needed(path: PurePath) -> bool:
    """Return whether a file of the installed PySpark, named relative to it, belongs into the image."""
    return KEPT.fullmatch(path.as_posix()) is not None and UNUSED_JARS.match(path.name) is None
