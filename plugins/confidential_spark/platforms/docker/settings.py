"""The deployment's Docker engine, and how large an enclave container on it is."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from confidential_spark.enclave.image import REFERENCE
from confidential_spark.hooks.blob.settings import EmulatorAddress
from confidential_spark.settings import ENV_PREFIX, DeploymentSettings, read_settings

# Azure's names: a group's may have letters of any script. Not `\w`, whose letters of all scripts, counted 90
# times, take a tenth of a second to compile at each import.
VM = r"^[^\x00-\x20/?#%]{1,90}/[A-Za-z0-9_.-]{1,64}$"


class DockerSettings(DeploymentSettings):
    """What `dcsv3` needs to know; see `docs/reference/settings.md`."""

    model_config = SettingsConfigDict(env_prefix=f"{ENV_PREFIX}DCSV3_")

    conn_id: str = Field(
        default="docker_default",
        validation_alias=f"{ENV_PREFIX}DOCKER_CONN_ID",
        description="Connection of the Docker engine of `dcsv3`: the VM's, local or remote, with TLS.",
    )
    image: Annotated[str, Field(pattern=rf"^({REFERENCE})$")] | None = Field(
        default=None,
        description="Enclave image of `dcsv3` by digest, `registry/name@sha256:…`, pulled where it is "
        "absent. Unset: the latest that DAG `enclave_image` published.",
    )
    cores: Annotated[int, Field(ge=1, le=256)] = Field(
        default=2, description="Cores of one enclave container."
    )
    memory: str = Field(
        default="4g",
        description="Memory limit of one enclave container: Spark, Python and 1 GiB of scratch space.",
    )
    network: Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$")] = Field(
        default="bridge",
        description="Docker network of hardware enclaves, which ask the attestation service; simulated ones "
        "have it only to download blobs.",
    )
    emulator: EmulatorAddress | None = Field(
        default=None,
        description="`HOST:PORT` by which containers reach the emulator of "
        "`CONFIDENTIAL_SPARK_BLOB_EMULATOR`; simulated enclaves only.",
    )
    sgx_devices: Annotated[str, Field(pattern=r"^(auto|/dev/[a-z_/]+(,/dev/[a-z_/]+){0,3})$")] = Field(
        default="auto",
        description="SGX devices of the Docker host, with commas between. `auto`: `/dev/sgx/enclave` and "
        "`/dev/sgx/provision`, else `/dev/sgx_enclave` and `/dev/sgx_provision`.",
    )
    aesm_dir: Annotated[str, Field(pattern=r"^/[A-Za-z0-9_./-]+$")] | None = Field(
        default=None,
        description="Folder of the host's AESM socket, e.g. `/var/run/aesmd`, where quotes come from AESM. "
        "Unset: quotes come from inside the container.",
    )

    vm: Annotated[str, Field(pattern=VM)] | None = Field(
        default=None,
        description="Azure VM of `dcsv3`, `resource-group/name`: started for a run, and deallocated when no "
        "run needs it any longer. Unset: it is left alone.",
    )
    azure_conn_id: str = Field(
        default="azure_default",
        validation_alias=f"{ENV_PREFIX}AZURE_CONN_ID",
        description="Connection that may start and deallocate the VM.",
    )
    registry_conn_id: str | None = Field(
        default=None,
        validation_alias=f"{ENV_PREFIX}IMAGE_REGISTRY_CONN_ID",
        description="Connection with the credentials of the images' registry, of type `docker` or "
        "`azure_container_registry`. Unset: none are sent.",
    )


def docker_settings() -> DockerSettings:
    """Return the wing's settings.

    :raises ConfigurationError: ``settings-invalid``.
    """
    return read_settings(DockerSettings)
