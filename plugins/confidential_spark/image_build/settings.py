"""What DAG `enclave_image` builds images from, and for which policy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode, SettingsConfigDict

from confidential_spark.enclave.image import REFERENCE
from confidential_spark.settings import ENV_PREFIX, DeploymentSettings, read_settings

# Registry host, port, path; a tag or digest follows from the image.
PUSH_REPOSITORY = r"^[a-z0-9][a-z0-9.-]{0,200}(:[0-9]{1,5})?(/[a-z0-9][a-z0-9._-]{0,100}){1,5}$"


def names_in(text: object) -> object:
    """Return the names of a list that is separated by commas."""
    return [name for each in text.split(",") if (name := each.strip())] if isinstance(text, str) else text


class ImageSettings(DeploymentSettings):
    """What building an image needs to know; see `docs/reference/settings.md`."""

    model_config = SettingsConfigDict(env_prefix=f"{ENV_PREFIX}IMAGE_")

    policy: str = Field(
        default="production",
        description="Policy that decides what DAG `enclave_image` builds, for which trust level, and who "
        "approves it; the one of the platforms that run the image.",
    )
    base: str = Field(
        default="confidential-spark-base:bookworm",
        description="Base of the simulated enclave image, on the engine: any Debian with python3 ≥ 3.11. "
        "`python -m scripts.debian_base` makes one.",
    )
    occlum_base: Annotated[str, Field(pattern=rf"^({REFERENCE})$")] | None = Field(
        default=None, description="Base of the hardware image, by digest: Occlum's, or the seed's BigDL PPML."
    )
    python_base: Annotated[str, Field(pattern=rf"^({REFERENCE})$")] | None = Field(
        default=None, description="Where the hardware image's Python comes from, by digest."
    )
    java_base: Annotated[str, Field(pattern=rf"^({REFERENCE})$")] | None = Field(
        default=None, description="Where the hardware image's Java comes from, by digest."
    )
    debs_dir: Path | None = Field(
        default=None,
        description="Folder with Azure's DCAP client (az-dcap-client, a .deb) and its `SHA256SUMS`, for the "
        "hardware image. Unset: the base has it.",
    )
    python_version: Annotated[str, Field(pattern=r"^3\.[0-9]{2}$")] = Field(
        default="3.11", description="Version of the image's Python, for which wheels are downloaded."
    )
    sign_key: Path | None = Field(
        default=None,
        description="File with the enclave's sign key (PEM, RSA-3072, exponent 3), readable by nobody else. "
        "Unset: simulated images get a key of this machine, hardware images are refused.",
    )
    approval_hours: Annotated[int, Field(ge=1, le=720)] = Field(
        default=72, description="How long a new measurement waits for a person; then its run fails."
    )
    second_person: bool = Field(
        default=False,
        description="Whether another person than the one who requested an image has to approve it. "
        "`make image APPROVE=yes` then refuses: it has one user.",
    )
    requesters: Annotated[tuple[str, ...], NoDecode, BeforeValidator(names_in)] = Field(
        default=(),
        description="Accounts of Airflow, by name, separated by commas, that have one person each. Where a "
        "second person is required, a run of anybody else is refused: a command line names the account of "
        "its machine, which no approver's account can be compared with.",
    )
    push_repository: Annotated[str, Field(pattern=PUSH_REPOSITORY)] | None = Field(
        default=None,
        description="Where approved images are pushed, e.g. `example.azurecr.io/confidential-spark/enclave`. "
        "Unset: they stay on the engine.",
    )
    source_revision: Annotated[str, Field(pattern=r"^[0-9a-f]{7,64}(-dirty)?$")] | None = Field(
        default=None,
        validation_alias=f"{ENV_PREFIX}SOURCE_REVISION",
        description="Git revision of this deployment, where it is no work tree of git; the ledger keeps it.",
    )


def image_settings() -> ImageSettings:
    """Return the settings of the images' DAG.

    :raises ConfigurationError: ``settings-invalid``.
    """
    return read_settings(ImageSettings)
