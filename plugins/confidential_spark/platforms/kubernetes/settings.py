"""The deployment's Kubernetes cluster, and how large a run on it is."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from confidential_spark.enclave.image import REFERENCE
from confidential_spark.hooks.blob.settings import EmulatorAddress
from confidential_spark.platforms.kubernetes.names import NAMESPACE
from confidential_spark.settings import ENV_PREFIX, DeploymentSettings, read_settings

DNS_LABEL = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"


class KubernetesSettings(DeploymentSettings):
    """What `aks` needs to know; see `docs/reference/settings.md`."""

    model_config = SettingsConfigDict(env_prefix=f"{ENV_PREFIX}AKS_")

    conn_id: str = Field(
        default="kubernetes_default", description="Connection of the Kubernetes cluster of `aks`."
    )
    namespace: Annotated[str, Field(pattern=DNS_LABEL)] = Field(
        default=NAMESPACE, description="Namespace of the pods, as in `include/kubernetes`."
    )
    work: str | None = Field(
        default=None,
        description="Address of a prefix in Azure Blob Storage through which input and results go, e.g. "
        "`wasbs://work@ACCOUNT.blob.core.windows.net/spark`; needed by `aks`. Its connection, that of the "
        "results, has a key or an identity.",
    )
    emulator: EmulatorAddress | None = Field(
        default=None,
        description="`HOST:PORT` by which pods reach the emulator of `CONFIDENTIAL_SPARK_BLOB_EMULATOR`; "
        "simulated enclaves only.",
    )
    image: Annotated[str, Field(pattern=rf"^({REFERENCE})$")] | None = Field(
        default=None,
        description="Enclave image of `aks` by digest, `registry/name@sha256:…`; measured in a pod before it "
        "is used. Unset: the latest that DAG `enclave_image` published.",
    )
    pull_secret: Annotated[str, Field(pattern=DNS_LABEL)] | None = Field(
        default=None,
        description="Secret of the namespace with the registry's credentials. Unset: the node's identity.",
    )
    executors: Annotated[int, Field(ge=1, le=100)] = Field(
        default=2, description="Executors of one Spark job, each an enclave in a pod."
    )
    executor_cores: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1, description="Tasks that one executor runs at once; also the CPU limit of its pod."
    )
    executor_memory: str = Field(
        default="2g",
        description="Memory limit of one executor's pod, scratch space included: 1 GiB, or the month and "
        "512 MiB where that is more.",
    )
    driver_memory: str = Field(
        default="2g", description="Memory limit of the driver's pod, scratch space included as for executors."
    )
    cpu_request: Annotated[str, Field(pattern=r"^([1-9][0-9]{0,4}m|[1-9][0-9]?)$")] = Field(
        default="500m", description="CPU that each pod of an enclave reserves on its node."
    )
    node_selector: dict[str, str] = Field(
        default={},
        description='Labels of the nodes to use, as JSON, e.g. `{"agentpool": "sgx"}`. Where EPC is asked '
        "for, only SGX nodes fit anyway.",
    )
    tolerations: list[dict[str, str]] = Field(
        default=[],
        description="Taints of the nodes to put up with, as JSON, e.g. "
        '`[{"key": "sgx", "operator": "Exists", "effect": "NoSchedule"}]`.',
    )
    quote_access: Literal["in-process", "aesm"] = Field(
        default="in-process",
        description="Where quotes come from: made in the enclave's own process, or by the node's AESM, whose "
        "socket is then a path of the node in each pod.",
    )
    supplemental_groups: list[Annotated[int, Field(ge=1, le=2**31 - 1)]] = Field(
        default=[],
        description="Further groups of the image's user, as JSON, e.g. `[120]`: those that own `/dev/sgx_…` "
        "on nodes where these are not open to all.",
    )
    epc: Annotated[str, Field(pattern=r"^(auto|[1-9][0-9]{0,8}(KB|MB|GB))$")] = Field(
        default="auto",
        description="Enclave memory (`sgx.intel.com/epc`) of each pod. `auto`: the image's size on hardware, "
        "none for simulated enclaves.",
    )
    deferrable: bool = Field(
        default=False,
        description="Let the triggerer wait for the driver's end, so that a long job holds no worker. Its "
        "log is then copied every five minutes.",
    )
    start_minutes: Annotated[int, Field(ge=1, le=120)] = Field(
        default=15, description="A pod that has not started by then fails the try; new nodes take minutes."
    )
    deadline_minutes: Annotated[int, Field(ge=1, le=2880)] = Field(
        default=150, description="Kubernetes ends every pod of a run after this time, whatever Airflow does."
    )


def kubernetes_settings() -> KubernetesSettings:
    """Return the wing's settings.

    :raises ConfigurationError: ``settings-invalid``.
    """
    return read_settings(KubernetesSettings)
