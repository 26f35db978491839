"""Which JVM options and Spark settings the host may choose.

Evidence says "this job file ran". A host that could pass `-javaagent` or `spark.jars` would make that
sentence a lie, so everything that is not listed is refused.
"""

from __future__ import annotations

import re

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
        r"-XX:Tier4(Invocation|MinInvocation|Compile|BackEdge)Threshold=[1-9][0-9]{0,6}",
        rf"-XX:(MaxMetaspaceSize|ReservedCodeCacheSize|MaxDirectMemorySize|CompressedClassSpaceSize)={MEMORY}",
        r"-XX:(ActiveProcessorCount|CICompilerCount|ParallelGCThreads)=[1-9][0-9]{0,3}",
        r"-XX:SharedArchiveFile=/[^:,]+",
        r"-D(user\.timezone=UTC|java\.awt\.headless=true|os\.name=Linux|java\.net\.preferIPv[46]\w*=true)",
        r"-Djdk\.lang\.Process\.launchMechanism=(vfork|posix_spawn)",
        r"-Dio\.netty\.(availableProcessors|eventLoopThreads)=[1-9][0-9]{0,3}",
        r"--add-opens=java\.(base|security\.jgss)/[a-z0-9.]+=ALL-UNNAMED",
    )
)
# Not the host's to choose: without these, Spark would serve plans and data on a port, or spill in clear.
FIXED_SETTINGS = {
    "spark.authenticate": "true",
    "spark.io.encryption.enabled": "true",
    # Spark's defaults: AES/CTR, which whoever sits between two pods can change bit by bit; keys without HKDF.
    "spark.network.crypto.authEngineVersion": "2",
    "spark.network.crypto.cipher": "AES/GCM/NoPadding",
    "spark.network.crypto.enabled": "true",
    "spark.network.crypto.saslFallback": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.ui.enabled": "false",
}
# In one process nothing but the loopback is needed.
ONE_PROCESS_SETTINGS = {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
BOOLEAN = "true|false"
COUNT = "[1-9][0-9]{0,5}"
# Below the launch folder and nowhere else: the driver would send any file it could name as its API token.
LAUNCH_PATH = r"/host/launch(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,100}){1,4}"
DNS_NAME = r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?"
# Executors are enclaves of their own, and get the RPC secret for their attestation (`secret_release.py`). So
# where their pods come from, and what else is in them, is the host's to choose.
KUBERNETES_SETTINGS = {
    "spark.blockManager.port": COUNT,
    "spark.driver.port": COUNT,
    "spark.driver.blockManager.port": COUNT,
    "spark.executor.cores": COUNT,
    "spark.executor.instances": COUNT,
    "spark.executor.memory": MEMORY,
    "spark.executor.memoryOverhead": MEMORY,
    "spark.kubernetes.allocation.batch.delay": r"[1-9][0-9]{0,4}m?s",
    "spark.kubernetes.authenticate.caCertFile": LAUNCH_PATH,
    "spark.kubernetes.authenticate.oauthTokenFile": LAUNCH_PATH,
    "spark.kubernetes.container.image": r"[A-Za-z0-9][A-Za-z0-9./:@_-]{0,500}",
    "spark.kubernetes.container.image.pullPolicy": "Always|IfNotPresent|Never",
    "spark.kubernetes.driver.ownPersistentVolumeClaim": BOOLEAN,
    "spark.kubernetes.driver.pod.name": DNS_NAME,
    "spark.kubernetes.driver.service.deleteOnTermination": BOOLEAN,
    "spark.kubernetes.executor.deleteOnTermination": BOOLEAN,
    "spark.kubernetes.executor.disableConfigMap": BOOLEAN,
    "spark.kubernetes.executor.limit.cores": r"[0-9]{1,4}(\.[0-9]{1,3})?m?",
    "spark.kubernetes.executor.podNamePrefix": DNS_NAME,
    "spark.kubernetes.executor.podTemplateContainerName": DNS_NAME,
    "spark.kubernetes.executor.podTemplateFile": LAUNCH_PATH,
    "spark.kubernetes.executor.request.cores": r"[0-9]{1,4}(\.[0-9]{1,3})?m?",
    "spark.kubernetes.namespace": DNS_NAME,
    "spark.scheduler.maxRegisteredResourcesWaitingTime": r"[1-9][0-9]{0,4}s",
    "spark.scheduler.minRegisteredResourcesRatio": r"(0\.[0-9]{1,3}|1(\.0)?)",
}
KUBERNETES_LABEL = re.compile(r"spark\.kubernetes\.executor\.label\.[A-Za-z0-9./_-]{1,253}")
LABEL_VALUE = re.compile(r"[A-Za-z0-9._-]{1,63}")
KUBERNETES_MASTER = r"k8s://https://[A-Za-z0-9.:\[\]-]{1,253}"
SPARK_SETTINGS = {name: re.compile(re.escape(value)) for name, value in FIXED_SETTINGS.items()} | {
    name: re.compile(pattern)
    for name, pattern in {
        **KUBERNETES_SETTINGS,
        "spark.master": rf"local\[{COUNT}\]|{KUBERNETES_MASTER}",
        # The agent sets both, whatever the host says.
        **{name: re.escape(value) for name, value in ONE_PROCESS_SETTINGS.items()},
        "spark.default.parallelism": COUNT,
        "spark.driver.memory": MEMORY,
        "spark.io.encryption.keySizeBits": "128|192|256",
        "spark.sql.adaptive.enabled": BOOLEAN,
        "spark.sql.files.maxPartitionBytes": rf"[1-9][0-9]{{0,11}}|{MEMORY}",
        "spark.sql.shuffle.partitions": COUNT,
        "spark.ui.showConsoleProgress": BOOLEAN,
    }.items()
}


def allowed_jvm_option(option: str) -> bool:
    """Return whether the host may pass this JVM option."""
    return any(pattern.fullmatch(option) for pattern in JVM_OPTIONS)


def spark_setting_form(name: str) -> re.Pattern[str] | None:
    """Return the form of the values the host may give a Spark setting, or None: not the host's to choose."""
    if name in SPARK_SETTINGS:
        return SPARK_SETTINGS[name]
    return LABEL_VALUE if KUBERNETES_LABEL.fullmatch(name) else None
