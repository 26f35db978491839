"""One task `run_spark` of `aks`; on the fake cluster, its enclave image is a shell script."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from confidential_spark.core.platforms import Platform
from confidential_spark.enclave.image import EnclaveImage
from confidential_spark.jobs import JOBS

from tests.support.fakes.execution_api import TaskRun
from tests.support.fakes.kubernetes_api.images import Image

if TYPE_CHECKING:
    from tests.support.fakes.kubernetes_api import FakeCluster

STUB = Path(__file__).parent / "enclave_stub.sh"
DIGEST = "sha256:" + "1a" * 32
REFERENCE = f"registry.example/enclave@{DIGEST}"
IMAGE = EnclaveImage(
    reference=REFERENCE,
    digest=DIGEST,
    trust="simulated",
    mrenclave="22" * 32,
    mrsigner="33" * 32,
    product_id=1,
    svn=1,
    debuggable=False,
    inputs_sha256="44" * 32,
)
PARAMS = {"month": "2018-05", "publish": True, "partitions": 1, "outlier_cap_dollars": 1000}


def install(fake: FakeCluster) -> None:
    """Put into the namespace what `include/kubernetes` and the control plane put there."""
    core = fake.core()
    for account in ("airflow-launcher", "spark-driver", "spark-executor"):
        core.create_namespaced_service_account(fake.namespace, {"metadata": {"name": account}})
    fake.label_namespace(**{"pod-security.kubernetes.io/enforce": "restricted"})


@dataclass
class SparkTask:
    """The task and what surrounds it.

    :param folder: for results and for what Airflow remembers.
    :param params: of the DAG run.
    """

    folder: Path
    image: EnclaveImage = IMAGE
    job: str = "sparkpi"
    manifest: dict[str, Any] | None = None
    params: dict[str, Any] = field(default_factory=lambda: dict(PARAMS))

    def run(self, run_id: str = "manual__2018-05", max_tries: int = 0) -> TaskRun:
        """Return the task of a run."""
        from airflow.sdk import DAG
        from confidential_spark.platforms.kubernetes.spark import EnclaveSparkKubernetesOperator

        task = EnclaveSparkKubernetesOperator(
            dag=DAG(f"{self.job}_aks", params=self.params, schedule=None),
            task_id="run_spark",
            job=JOBS[self.job],
            platform=Platform.AKS,
            image=self.image.to_xcom(),
            manifest=self.manifest,
        )
        memory = self.folder / f"{re.sub('[^a-z0-9]', '-', run_id)}.json"
        return TaskRun(memory, task, run_id, max_tries=max_tries)


@dataclass(kw_only=True)
class FakeSparkTask(SparkTask):
    """The task on the fake cluster, whose drivers a test tells how to behave.

    :param blobs: empty: drivers upload nothing of what they have made.
    """

    fake: FakeCluster
    blobs: str = "yes"

    def behave(self, behaviour: str = "") -> None:
        """Say how drivers end from now on; see `enclave_stub.sh`."""
        environment = {"BEHAVIOUR": behaviour, "AGENT": sys.executable, "BLOBS": self.blobs}
        image = Image(entrypoint=("bash", str(STUB)), environment=environment)
        self.fake.add_image(REFERENCE, image)

    def pods(self, role: str | None = None) -> list[str]:
        """Names of the pods that are there."""
        return [
            pod["metadata"]["name"]
            for pod in self.fake.pods()
            if role is None or pod["metadata"]["labels"].get("spark-role") == role
        ]

    def drivers(self) -> list[str]:
        """Names of the drivers that run."""
        running = [pod for pod in self.fake.pods() if pod["status"]["phase"] == "Running"]
        names = [pod["metadata"]["name"] for pod in running]
        return [name for name in names if name in self.pods("driver")]

    def driver(self) -> str | None:
        """Name of the driver that runs, if one does."""
        return next(iter(self.drivers()), None)

    def let_go(self, driver: str) -> None:
        """Let a driver that waits finish its work."""
        (self.fake.pod_folder(driver, "enclave") / "host/data/go").touch()

    def left(self) -> list[str]:
        """What is left on the cluster."""
        secrets = self.fake.core().list_namespaced_secret(self.fake.namespace).items
        return [*self.pods(), *(secret.metadata.name for secret in secrets)]
