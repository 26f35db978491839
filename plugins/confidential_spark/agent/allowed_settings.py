"""Which JVM options and Spark settings the host may choose.

Evidence says "this job file ran". A host that could pass `-javaagent` or `spark.jars` would make that
sentence a lie, so everything that is not listed is refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MEMORY = r"[1-9][0-9]{0,6}[kKmMgG]"
JVM_OPTIONS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"-Xm[sx]{MEMORY}",
        rf"-Xss{MEMORY}",
        r"-Xshare:auto",
        r"-Xlog:(disable|cds=off|cds\+dynamic=off)",
        r"-XX:\+Use(Serial|Parallel|G1)GC",
        r"-XX:[+-](UseCompressedOops|UsePerfData|TieredCompilation|DontCompileHugeMethods|ExitOnOutOfMemoryError)",
        r"-XX:TieredStopAtLevel=[0-4]",
        rf"-XX:(MaxMetaspaceSize|ReservedCodeCacheSize|MaxDirectMemorySize|CompressedClassSpaceSize)={MEMORY}",
        r"-XX:(ActiveProcessorCount|CICompilerCount|ParallelGCThreads)=[1-9][0-9]{0,3}",
        r"-XX:SharedArchiveFile=/[^:,]+",
        r"-D(user\.timezone=UTC|java\.awt\.headless=true|os\.name=Linux|java\.net\.preferIPv[46]\w*=true)",
        r"-Djdk\.lang\.Process\.launchMechanism=(vfork|posix_spawn)",
        r"-Dio\.netty\.(availableProcessors|eventLoopThreads)=[1-9][0-9]{0,3}",
        r"--add-opens=java\.(base|security\.jgss)/[a-z0-9.]+=ALL-UNNAMED",
    )
)
SPARK_SETTINGS = frozenset(
    {
        "spark.authenticate",
        "spark.default.parallelism",
        "spark.driver.bindAddress",
        "spark.driver.host",
        "spark.driver.memory",
        "spark.io.encryption.enabled",
        "spark.io.encryption.keySizeBits",
        "spark.master",
        "spark.network.crypto.enabled",
        "spark.network.crypto.saslFallback",
        "spark.python.use.daemon",
        "spark.sql.adaptive.enabled",
        "spark.sql.files.maxPartitionBytes",
        "spark.sql.session.timeZone",
        "spark.sql.shuffle.partitions",
        "spark.ui.enabled",
        "spark.ui.port",
        "spark.ui.showConsoleProgress",
    }
)
# Credentials of the storage account, which come from a connection at launch and never from the image. Other
# settings of the same family name programs to run (`fs.azure.shellkeyprovider.script`).
STORAGE_SETTING = re.compile(
    r"spark\.hadoop\.fs\.azure\.(account\.key|account\.auth\.type|sas|storage\.emulator\.account\.name)(\.[\w-]+)*",
    re.ASCII,
)
SHORTEST_SECRET = 8


def allowed_jvm_option(option: str) -> bool:
    """Return whether the host may pass this JVM option."""
    return any(pattern.fullmatch(option) for pattern in JVM_OPTIONS)


def allowed_spark_setting(name: str) -> bool:
    """Return whether the host may choose this Spark setting."""
    return name in SPARK_SETTINGS or STORAGE_SETTING.fullmatch(name) is not None


def secret_values(settings: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values that must never be printed, longest first."""
    values = {value for name, value in settings.items() if STORAGE_SETTING.fullmatch(name)}
    return tuple(sorted((v for v in values if len(v) >= SHORTEST_SECRET), key=len, reverse=True))
