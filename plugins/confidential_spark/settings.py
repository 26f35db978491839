"""The deployment's constants, read once from `CONFIDENTIAL_SPARK_*` variables.

Addresses and secrets are Airflow connections, one run's choices are Params; everything else is here.
"""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from confidential_spark.core.errors import ConfigurationError
from confidential_spark.core.platforms import Platform
from confidential_spark.enclave.image import REFERENCE
from confidential_spark.enclave.occlum_config import EnclaveSizing

PROJECT_DIR = Path(__file__).resolve().parents[2]
ENV_PREFIX = "CONFIDENTIAL_SPARK_"
# Registry host, port, path; a tag or digest follows from the image.
PUSH_REPOSITORY = r"^[a-z0-9][a-z0-9.-]{0,200}(:[0-9]{1,5})?(/[a-z0-9][a-z0-9._-]{0,100}){1,5}$"

DNS_LABEL = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"


class Settings(BaseSettings):
    """Where things are and how large runs may be; see `docs/reference/settings.md`."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="forbid")

    include_dir: Path = Field(
        default=PROJECT_DIR / "include",
        description="Jobs, policies and checks, read by path, never imported.",
    )
    results_dir: Path = Field(
        default=PROJECT_DIR / "var" / "results", description="Published months, one folder per DAG."
    )
    results_grace_hours: Annotated[int, Field(ge=1, le=8760)] = Field(
        default=24,
        description="Hours that a replaced version of a month is kept, for readers who resolved it before.",
    )
    inputs_dir: Path = Field(
        default=PROJECT_DIR / "var" / "inputs", description="Synthetic months made on demand."
    )
    cache_dir: Path = Field(
        default=PROJECT_DIR / "var" / "cache",
        description="JVM class archives and what images are built from. Safe to delete, but for "
        "`simulated-sign-key.pem`: "
        "a simulated image is then signed with a new key, and has to be approved again.",
    )
    input_uri: str | None = Field(
        default=None,
        description="Location of the trip records, e.g. `file:///data/yellow`, or a template with "
        "`{year}` and `{month}`. Unset: a synthetic month, labelled so.",
    )
    synthetic_rows: Annotated[int, Field(ge=1_000, le=20_000_000)] = Field(
        default=10_000, description="Rows of a synthetic month."
    )
    local_policy: str = Field(
        default="simulation", description="Policy of the `local` platform, by file name."
    )
    dcsv3_policy: str = Field(default="production", description="Policy of the `dcsv3` platform.")
    aks_policy: str = Field(default="production", description="Policy of the `aks` platform.")
    attestation_conn_id: str = Field(
        default="maa_default", description="Connection of the attestation provider. Not used by `local`."
    )
    pccs_url: str = Field(
        default="https://global.acccache.azure.net/sgx/certification/v4/",
        description="Where DCAP collateral comes from (Azure's cache). Not used by `local`.",
    )
    spark_cores: Annotated[int, Field(ge=1, le=256)] = Field(
        default=2, description="Cores of one local Spark job."
    )
    spark_memory: str = Field(
        default="2g", description="Memory of one local Spark job: heap, metaspace and Python."
    )
    spark_timeout_minutes: Annotated[int, Field(ge=1, le=1440)] = Field(
        default=120, description="A Spark job that runs longer is stopped and fails."
    )
    enclave_user_space_size: str = Field(
        default="12GB",
        description="Memory of all programs in one enclave; part of MRENCLAVE. One image serves every "
        "platform, so a pod asks for as much page cache as this takes.",
    )
    enclave_kernel_heap_size: str = Field(
        default="1GB", description="Occlum's own memory in the enclave; part of MRENCLAVE."
    )
    enclave_process_heap_size: str = Field(
        default="1GB",
        description="Native heap of each process in the enclave: the agent, the JVM and Python; part of "
        "MRENCLAVE.",
    )
    enclave_max_threads: int = Field(
        default=2048, description="Threads of all programs in the enclave together; part of MRENCLAVE."
    )
    enclave_product_id: int = Field(
        default=1, description="The signer's number for this product (ISVPRODID), 0 to 65535."
    )
    enclave_svn: int = Field(
        default=1,
        description="Security version (ISVSVN), 0 to 65535; raise it with every fix that old images must not "
        "outlive.",
    )
    enclave_debug: bool = Field(
        default=False,
        description="Build an enclave that a debugger can read. It protects nothing; production policies "
        "refuse it.",
    )

    docker_conn_id: str = Field(
        default="docker_default",
        description="Connection of the Docker engine of `dcsv3`: the VM's, local or remote, with TLS.",
    )
    dcsv3_image: Annotated[str, Field(pattern=rf"^({REFERENCE})$")] | None = Field(
        default=None,
        description="Enclave image of `dcsv3` by digest, `registry/name@sha256:…`, pulled where it is "
        "absent. Unset: the latest that DAG `enclave_image` published.",
    )
    dcsv3_cores: Annotated[int, Field(ge=1, le=256)] = Field(
        default=2, description="Cores of one enclave container."
    )
    dcsv3_memory: str = Field(
        default="4g",
        description="Memory limit of one enclave container: Spark, Python and 1 GiB of scratch space.",
    )
    dcsv3_network: Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$")] = Field(
        default="bridge",
        description="Docker network of hardware enclaves, which ask the attestation service; simulated ones "
        "have none.",
    )
    dcsv3_sgx_devices: Annotated[str, Field(pattern=r"^(auto|/dev/[a-z_/]+(,/dev/[a-z_/]+){0,3})$")] = Field(
        default="auto",
        description="SGX devices of the Docker host, with commas between. `auto`: `/dev/sgx/enclave` and "
        "`/dev/sgx/provision`, else `/dev/sgx_enclave` and `/dev/sgx_provision`.",
    )
    dcsv3_aesm_dir: Annotated[str, Field(pattern=r"^/[A-Za-z0-9_./-]+$")] | None = Field(
        default=None,
        description="Folder of the host's AESM socket, e.g. `/var/run/aesmd`, where quotes come from AESM. "
        "Unset: quotes come from inside the container.",
    )

    dcsv3_vm: Annotated[str, Field(pattern=r"^[\w.()-]{1,90}/[\w.-]{1,64}$")] | None = Field(
        default=None,
        description="Azure VM of `dcsv3`, `resource-group/name`: started for a run, and deallocated when no "
        "run needs it any more. Unset: it is left alone.",
    )
    azure_conn_id: str = Field(
        default="azure_default", description="Connection that may start and deallocate the VM."
    )
    aks_conn_id: str = Field(
        default="kubernetes_default", description="Connection of the Kubernetes cluster of `aks`."
    )
    aks_namespace: Annotated[str, Field(pattern=DNS_LABEL)] = Field(
        default="confidential-spark", description="Namespace of the pods, as in `include/kubernetes`."
    )
    aks_claim: Annotated[str, Field(pattern=DNS_LABEL)] = Field(
        default="confidential-spark-data",
        description="PersistentVolumeClaim through which driver and executors share files; ReadWriteMany "
        "where they may be on several nodes.",
    )
    aks_image: Annotated[str, Field(pattern=rf"^({REFERENCE})$")] | None = Field(
        default=None,
        description="Enclave image of `aks` by digest, `registry/name@sha256:…`; measured in a pod before it "
        "is used. Unset: the latest that DAG `enclave_image` published.",
    )
    aks_pull_secret: Annotated[str, Field(pattern=DNS_LABEL)] | None = Field(
        default=None,
        description="Secret of the namespace with the registry's credentials. Unset: the node's identity.",
    )
    aks_executors: Annotated[int, Field(ge=1, le=100)] = Field(
        default=2, description="Executors of one Spark job, each an enclave in a pod."
    )
    aks_executor_cores: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1, description="Tasks that one executor runs at once; also the CPU limit of its pod."
    )
    aks_executor_memory: str = Field(
        default="2g", description="Memory limit of one executor's pod, 1 GiB of scratch space included."
    )
    aks_driver_memory: str = Field(
        default="2g", description="Memory limit of the driver's pod, 1 GiB of scratch space included."
    )
    aks_cpu_request: Annotated[str, Field(pattern=r"^([1-9][0-9]{0,4}m|[1-9][0-9]?)$")] = Field(
        default="500m", description="CPU that each pod of an enclave reserves on its node."
    )
    aks_node_selector: dict[str, str] = Field(
        default={},
        description='Labels of the nodes to use, as JSON, e.g. `{"agentpool": "sgx"}`. Where EPC is asked '
        "for, only SGX nodes fit anyway.",
    )
    aks_tolerations: list[dict[str, str]] = Field(
        default=[],
        description="Taints of the nodes to put up with, as JSON, e.g. "
        '`[{"key": "sgx", "operator": "Exists", "effect": "NoSchedule"}]`.',
    )
    aks_quote_access: Literal["in-process", "aesm"] = Field(
        default="in-process",
        description="Where quotes come from: made in the enclave's own process, or by the node's AESM, whose "
        "socket is then a path of the node in each pod.",
    )
    aks_supplemental_groups: list[Annotated[int, Field(ge=1, le=2**31 - 1)]] = Field(
        default=[],
        description="Further groups of the image's user, as JSON, e.g. `[120]`: those that own `/dev/sgx_…` "
        "on nodes where these are not open to all.",
    )
    aks_epc: Annotated[str, Field(pattern=r"^(auto|[1-9][0-9]{0,8}(KB|MB|GB))$")] = Field(
        default="auto",
        description="Enclave memory (`sgx.intel.com/epc`) of each pod. `auto`: the image's size on hardware, "
        "none for simulated enclaves.",
    )
    aks_deferrable: bool = Field(
        default=False,
        description="Let the triggerer wait for the driver's end, so that a long job holds no worker. Its "
        "log is then copied every five minutes.",
    )
    aks_start_minutes: Annotated[int, Field(ge=1, le=120)] = Field(
        default=15, description="A pod that has not started by then fails the try; new nodes take minutes."
    )
    aks_deadline_minutes: Annotated[int, Field(ge=1, le=2880)] = Field(
        default=150, description="Kubernetes ends every pod of a run after this time, whatever Airflow does."
    )

    image_base: str = Field(
        default="confidential-spark-base:bookworm",
        description="Base of the simulated enclave image, on the engine: any Debian with python3 ≥ 3.11. "
        "`python -m scripts.debian_base` makes one.",
    )
    image_occlum_base: Annotated[str, Field(pattern=rf"^({REFERENCE})$")] | None = Field(
        default=None, description="Base of the hardware image, by digest: Occlum's, or the seed's BigDL PPML."
    )
    image_python_base: Annotated[str, Field(pattern=rf"^({REFERENCE})$")] | None = Field(
        default=None, description="Where the hardware image's Python comes from, by digest."
    )
    image_java_base: Annotated[str, Field(pattern=rf"^({REFERENCE})$")] | None = Field(
        default=None, description="Where the hardware image's Java comes from, by digest."
    )
    image_debs_dir: Path | None = Field(
        default=None,
        description="Folder with Azure's DCAP client (az-dcap-client, a .deb) and its `SHA256SUMS`, for the "
        "hardware image. Unset: the base has it.",
    )
    image_python_version: Annotated[str, Field(pattern=r"^3\.[0-9]{2}$")] = Field(
        default="3.11", description="Version of the image's Python, for which wheels are downloaded."
    )
    image_sign_key: Path | None = Field(
        default=None,
        description="File with the enclave's sign key (PEM, RSA-3072, exponent 3), readable by nobody else. "
        "Unset: simulated images get a key of this machine, hardware images are refused.",
    )
    image_approval_hours: Annotated[int, Field(ge=1, le=720)] = Field(
        default=72, description="How long a new measurement waits for a person; then its run fails."
    )
    image_push_repository: Annotated[str, Field(pattern=PUSH_REPOSITORY)] | None = Field(
        default=None,
        description="Where approved images are pushed, e.g. `example.azurecr.io/confidential-spark/enclave`. "
        "Unset: they stay on the engine.",
    )
    image_registry_conn_id: str | None = Field(
        default=None,
        description="Connection with the registry's credentials, of type `docker` or "
        "`azure_container_registry`. Unset: none are sent.",
    )
    source_revision: Annotated[str, Field(pattern=r"^[0-9a-f]{7,64}(-dirty)?$")] | None = Field(
        default=None,
        description="Git revision of this deployment, where it is no work tree of git; the ledger keeps it.",
    )

    @property
    def jobs_dir(self) -> Path:
        """Folder of the Spark programs."""
        return self.include_dir / "jobs"

    @property
    def results_grace(self) -> timedelta:
        """How long a replaced version of a month is kept."""
        return timedelta(hours=self.results_grace_hours)

    def policy_path(self, platform: Platform) -> Path:
        """Return the policy file that evidence from ``platform`` must satisfy."""
        name = {
            Platform.LOCAL: self.local_policy,
            Platform.DCSV3: self.dcsv3_policy,
            Platform.AKS: self.aks_policy,
        }[platform]
        return self.include_dir / "policies" / f"{name}.yaml"

    def enclave_sizing(self) -> EnclaveSizing:
        """Return how large the image's enclave is, on every platform.

        :raises ConfigurationError: ``enclave-size-malformed`` or ``enclave-number-invalid``.
        """
        return EnclaveSizing(
            user_space=self.enclave_user_space_size,
            kernel_heap=self.enclave_kernel_heap_size,
            process_heap=self.enclave_process_heap_size,
            max_threads=self.enclave_max_threads,
            product_id=self.enclave_product_id,
            svn=self.enclave_svn,
            debug=self.enclave_debug,
        )

    def checks_path(self, job_name: str) -> Path:
        """Return the limits file of a job's result checks."""
        return self.include_dir / "checks" / f"{job_name}.yaml"


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return the deployment's settings.

    :raises ConfigurationError: ``settings-invalid``, naming each variable that is wrong.
    """
    try:
        return Settings()
    except ValidationError as error:
        problems = "; ".join(
            f"{ENV_PREFIX}{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}, got {e['input']!r}"
            for e in error.errors()
        )
        raise ConfigurationError(
            f"The deployment's settings are wrong: {problems}",
            code="settings-invalid",
            action="correct these environment variables; docs/reference/settings.md describes each",
        ) from error
