"""How Spark is started on Kubernetes: the driver in a pod of ours, executors in pods that Spark makes.

Source: Spark 3.5, "Running Spark on Kubernetes" (client mode) and `KubernetesClusterSchedulerBackend`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from confidential_spark.core.errors import ConfigurationError
from confidential_spark.enclave import layout
from confidential_spark.enclave.spark import (
    MAX_CORES,
    MEBIBYTE,
    SMALLEST_PLAN,
    MemoryPlan,
    choose_runtime,
    memory_bytes,
)
from confidential_spark.platforms.kubernetes.names import (
    BLOCK_MANAGER_PORT,
    DRIVER_PORT,
    ENCLAVE_CONTAINER,
    PULL_POLICY,
)

if TYPE_CHECKING:
    from confidential_spark.enclave.spark import SparkInstallation, SparkRuntime
    from confidential_spark.platforms.kubernetes.names import TryNames

# A pod's scratch space is memory. It grows where a copy of the input would leave Spark less than its part.
SCRATCH_BYTES, SPARK_SCRATCH_BYTES = 1024 * MEBIBYTE, 512 * MEBIBYTE
# MiB that an executor's JVM needs outside its heap.
BESIDE_HEAP = SMALLEST_PLAN.metaspace + SMALLEST_PLAN.native
# Inside the cluster, whatever address Airflow uses.
MASTER = "k8s://https://kubernetes.default.svc"
EXECUTOR_TEMPLATE = "executor-pod.yaml"
# Spark's own limit (`Executor memory must be at least 471859200`), rounded up.
SMALLEST_EXECUTOR_HEAP = 512
# Settings of local mode; on Kubernetes the agent sets the address itself.
LOCAL_SETTINGS = ("spark.master", "spark.driver.host", "spark.driver.bindAddress")


@dataclass(frozen=True, kw_only=True)
class ExecutorPlan:
    """The executors of one job.

    :param cores: tasks that one of them runs at once.
    :param memory: limit of one pod, as the JVM writes it, e.g. ``2g``.
    :param cpu_request: CPU that a pod reserves, as Kubernetes writes it.
    :param input_bytes: size of the input's files, of which driver and executors have copies; 0 for jobs
        without input.
    """

    count: int
    cores: int
    memory: str
    cpu_request: str
    input_bytes: int

    @property
    def cpu_limit(self) -> int:
        """Cores that one pod may use at most."""
        return max(self.cores, whole_cores(self.cpu_request))

    @property
    def heap(self) -> int:
        """MiB of a pod that are left for the JVM's heap.

        :raises ConfigurationError: ``memory-malformed``, ``memory-too-small``.
        """
        least = SMALLEST_EXECUTOR_HEAP + BESIDE_HEAP
        return memory_left(self.memory, least, self.input_bytes, "executor") - BESIDE_HEAP

    @property
    def memory_plan(self) -> MemoryPlan:
        """Where an executor's memory goes, which its enclave must hold.

        :raises ConfigurationError: as :attr:`heap`.
        """
        return MemoryPlan(heap=self.heap)

    @property
    def overhead(self) -> int:
        """MiB beside the heap: scratch space, which is memory, and what the JVM needs for itself."""
        return scratch_bytes(self.input_bytes) // MEBIBYTE + BESIDE_HEAP


def scratch_bytes(input_bytes: int) -> int:
    """Return the scratch space of a pod with a copy of the input, in whole MiB."""
    return max(SCRATCH_BYTES, SPARK_SCRATCH_BYTES + mebibytes(input_bytes) * MEBIBYTE)


def mebibytes(size: int) -> int:
    """Return how many MiB hold a number of bytes."""
    return -(-size // MEBIBYTE)


def memory_left(memory: str, least: int, input_bytes: int, whose: str) -> int:
    """Return the MiB of a pod that its scratch space leaves to Spark.

    :param memory: the pod's limit, e.g. ``2g``.
    :param least: MiB that Spark needs.
    :param whose: ``driver`` or ``executor``.
    :raises ConfigurationError: ``memory-malformed``, ``memory-too-small``.
    """
    scratch = scratch_bytes(input_bytes) // MEBIBYTE
    left = memory_bytes(memory) // MEBIBYTE - scratch
    if left < least:
        raise ConfigurationError(
            f"The memory of the {whose}'s pod is too small for Spark and a copy of the input.",
            code="memory-too-small",
            got=memory,
            expected=f"at least {least + scratch}m: {least}m for Spark + {scratch}m scratch space, "
            f"of which the input takes {mebibytes(input_bytes)}m",
            action=f"raise CONFIDENTIAL_SPARK_AKS_{whose.upper()}_MEMORY",
        )
    return left


def whole_cores(cpu: str) -> int:
    """Return how many cores hold an amount of CPU as Kubernetes writes it, e.g. ``500m`` or ``2``."""
    return -(-int(cpu.removesuffix("m")) // 1000) if cpu.endswith("m") else int(cpu)


def driver_runtime(
    *,
    memory: str,
    installation: SparkInstallation,
    executors: ExecutorPlan,
    image: str,
    namespace: str,
    names: TryNames,
) -> SparkRuntime:
    """Choose how the driver starts Spark.

    :param memory: limit of the driver's pod, e.g. ``2g``.
    :param image: reference of the executors' image, which is the driver's.
    :raises ConfigurationError: memory or cores out of range, before anything is started.
    """
    left = memory_left(memory, SMALLEST_PLAN.total, executors.input_bytes, "driver")
    # Decides into how many parts a shuffle is cut, and more are of no use.
    cores = min(executors.count * executors.cores, MAX_CORES)
    runtime = choose_runtime(
        input_bytes=executors.input_bytes, cores=cores, memory=f"{left}m", installation=installation
    )
    shared = {name: value for name, value in runtime.spark_conf.items() if name not in LOCAL_SETTINGS}
    return replace(
        runtime, spark_conf=shared | _executor_settings(executors, image) | _pod_settings(namespace, names)
    )


def _executor_settings(executors: ExecutorPlan, image: str) -> dict[str, str]:
    return {
        "spark.executor.instances": str(executors.count),
        "spark.executor.cores": str(executors.cores),
        "spark.executor.memory": f"{executors.heap}m",
        "spark.executor.memoryOverhead": f"{executors.overhead}m",
        "spark.kubernetes.container.image": image,
        "spark.kubernetes.container.image.pullPolicy": PULL_POLICY,
        "spark.kubernetes.executor.request.cores": executors.cpu_request,
        "spark.kubernetes.executor.limit.cores": str(executors.cpu_limit),
        # All of them, or what has come after two minutes: each attests itself before it counts.
        "spark.scheduler.minRegisteredResourcesRatio": "1.0",
        "spark.scheduler.maxRegisteredResourcesWaitingTime": "120s",
    }


def _pod_settings(namespace: str, names: TryNames) -> dict[str, str]:
    account = layout.SERVICE_ACCOUNT_DIR
    return {
        "spark.master": MASTER,
        "spark.driver.port": str(DRIVER_PORT),
        "spark.driver.blockManager.port": str(BLOCK_MANAGER_PORT),
        "spark.blockManager.port": str(BLOCK_MANAGER_PORT),
        "spark.kubernetes.namespace": namespace,
        "spark.kubernetes.driver.pod.name": names.driver,
        "spark.kubernetes.authenticate.oauthTokenFile": str(account / "token"),
        "spark.kubernetes.authenticate.caCertFile": str(account / "ca.crt"),
        "spark.kubernetes.executor.podNamePrefix": names.base,
        "spark.kubernetes.executor.podTemplateFile": str(layout.LAUNCH_DIR / EXECUTOR_TEMPLATE),
        "spark.kubernetes.executor.podTemplateContainerName": ENCLAVE_CONTAINER,
        # An executor gets its settings from the driver, over the encrypted connection.
        "spark.kubernetes.executor.disableConfigMap": "true",
        # Their last words say why the run failed; they go with the driver.
        "spark.kubernetes.executor.deleteOnTermination": "false",
        # Spark would ask for rights to remove what it never made.
        "spark.kubernetes.driver.service.deleteOnTermination": "false",
        "spark.kubernetes.driver.ownPersistentVolumeClaim": "false",
    }
