"""How the deployment reaches Azure Blob Storage."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from confidential_spark.jobs.input.blob_location import AZURE_SUFFIX
from confidential_spark.settings import ENV_PREFIX, DeploymentSettings, read_settings

EmulatorAddress = Annotated[str, Field(pattern=r"^[a-z0-9.-]{1,253}:[0-9]{1,5}$")]
"""``HOST:PORT`` of a storage emulator, as enclaves on another machine reach it."""


class BlobSettings(DeploymentSettings):
    """What reading blobs takes; see `docs/azure.md`."""

    model_config = SettingsConfigDict(env_prefix=f"{ENV_PREFIX}BLOB_")

    conn_id: str | None = Field(
        default=None,
        description="Connection of type `wasb` or `adls` whose account key, SAS token or identity reads the "
        "input, which must be of its own account. Unset: the input is read as anybody may.",
    )
    suffix: Annotated[str, Field(pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)+$")] = Field(
        default=AZURE_SUFFIX,
        description="The cloud's suffix of storage addresses, e.g. `core.usgovcloudapi.net`.",
    )
    emulator: (
        Annotated[str, Field(pattern=r"^https?://(127\.0\.0\.1|localhost):[0-9]+/[a-z0-9]{3,24}$")] | None
    ) = Field(
        default=None,
        description="Address of an emulator's account on this machine, e.g. "
        "`http://127.0.0.1:10000/devstoreaccount1`; it is read in place of the account of that name.",
    )

    def emulator_forward(self, address: str | None) -> str | None:
        """Return ``PORT:HOST:PORT``, by which an enclave elsewhere has the emulator at this machine's port.

        :param address: ``HOST:PORT`` of the emulator as seen from there, or None.
        """
        if not (address and self.emulator):
            return None
        return f"{urlsplit(self.emulator).port}:{address}"


def blob_settings() -> BlobSettings:
    """Return the settings.

    :raises ConfigurationError: ``settings-invalid``.
    """
    return read_settings(BlobSettings)
