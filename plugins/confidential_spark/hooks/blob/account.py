"""A storage account: who reads it, and rights for hours that go to an enclave."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import mask_secret
from azure.core.credentials import AzureSasCredential
from azure.storage.blob import BlobServiceClient, generate_blob_sas

from confidential_spark.core.errors import ConfigurationError
from confidential_spark.hooks.blob.answers import NO_REDIRECTS, require_blob_service
from confidential_spark.hooks.blob.failures import storage_errors
from confidential_spark.hooks.connections import find_connection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Connection
    from azure.storage.blob import ContainerClient

    from confidential_spark.hooks.blob.settings import BlobSettings
    from confidential_spark.jobs.input.blob_location import BlobLocation

# Its line for each request and each header would bury a task's story.
logging.getLogger("azure.core.pipeline.policies.http_logging_policy").setLevel(logging.WARNING)
# What the clocks of account and pipeline may differ by.
SKEW = timedelta(minutes=15)
# A wrong name, or an account that is away, is told within seconds, also where a task asks several times.
PATIENCE: dict[str, Any] = {
    "retry_total": 2,
    "retry_connect": 1,
    "initial_backoff": 1,
    "increment_base": 2,
    "random_jitter_range": 1,
    "connection_timeout": 5,
    "read_timeout": 30,
}


@dataclass(frozen=True)
class BlobAccount:
    """The account of a location, and what the deployment has for it: at most one of the three.

    :param token: an Entra identity's source of tokens.
    """

    location: BlobLocation
    key: str = field(default="", repr=False)
    sas: str = field(default="", repr=False)
    token: Any = field(default=None, repr=False)

    @classmethod
    def of(cls, location: BlobLocation, settings: BlobSettings) -> BlobAccount:
        """Return the account with the credentials of the deployment's connection, where one is set.

        An address comes with a run, and the credentials must not go wherever a run points.

        :raises ConfigurationError: ``storage-connection-invalid``; ``storage-connection-account``: the
            connection is of another account.
        """
        if settings.conn_id is None:
            return cls(location)
        client = _client_of(settings.conn_id)
        if client.account_name != location.account:
            raise _other_account(settings.conn_id, str(client.account_name), location)
        key = str(getattr(client.credential, "account_key", "") or "")
        if isinstance(client.credential, AzureSasCredential):
            sas = client.credential.signature.strip().removeprefix("?")
        else:
            sas = urlsplit(client.url).query
        # Airflow masks a connection's fields where it prints them; this is how the token stands in addresses.
        mask_secret(sas)
        token = client.credential if hasattr(client.credential, "get_token") else None
        if token and not location.endpoint.startswith("https:"):
            raise _connection_error(settings.conn_id, "an identity, whose tokens are not sent without TLS")
        return cls(location, key, sas, token)

    @cached_property
    def service(self) -> BlobServiceClient:
        """Client of the account."""
        credential = self.key or (AzureSasCredential(self.sas) if self.sas else self.token)
        return BlobServiceClient(
            self.location.endpoint,
            credential=credential,
            raw_response_hook=require_blob_service,
            **NO_REDIRECTS,
            **PATIENCE,
        )

    @property
    def shown(self) -> str:
        """What the account is shown, in the words of an error."""
        kinds = {"an account key": self.key, "a SAS token": self.sas, "an Entra identity": self.token}
        given = next((kind for kind, credential in kinds.items() if credential), None)
        return f"with {given}" if given else "without credentials: no connection is set"

    @property
    def container(self) -> ContainerClient:
        """Client of the location's container."""
        return self.service.get_container_client(self.location.container)

    def rights(self, paths: Sequence[str], lifetime: timedelta, permission: str = "r") -> dict[str, str]:
        """Return what lets an enclave read these blobs, for each a SAS token or nothing.

        A key and an identity stay here: each blob gets a token for itself, for hours.

        :param permission: what one may do with the blob, by the letters of SAS tokens.
        :raises InputError: ``storage-…``: the account gives the identity no key for such tokens.
        """
        if not self.key and self.token is None:
            return dict.fromkeys(paths, self.sas)
        starts = datetime.now(UTC) - SKEW
        ends = starts + SKEW + lifetime
        signed: dict[str, Any] = {"account_key": self.key}
        if not self.key:
            with storage_errors(self.location.endpoint, shown=self.shown):
                signed = {"user_delegation_key": self.service.get_user_delegation_key(starts, ends)}
        secure = self.location.endpoint.startswith("https:")
        made = {
            path: generate_blob_sas(
                self.location.account,
                self.location.container,
                path,
                permission=permission,
                start=starts,
                expiry=ends,
                protocol="https" if secure else None,
                **signed,
            )
            for path in paths
        }
        for sas in made.values():
            mask_secret(sas)
        return made


def _client_of(conn_id: str) -> Any:
    """Return the provider's client of a connection, which knows its account and its credential."""
    # Imported late: Azure's libraries are large, and a month on files needs none of them.
    from airflow.providers.microsoft.azure.hooks.data_lake import AzureDataLakeStorageV2Hook
    from airflow.providers.microsoft.azure.hooks.wasb import WasbHook

    connection = find_connection(conn_id)
    if connection is None:
        raise _connection_error(conn_id, "there is no such connection")
    kind = connection.conn_type
    try:
        if kind == "wasb":
            return WasbHook(conn_id).get_conn()
        if kind == "adls":
            _require_no_sas_in_extra(connection)
            return AzureDataLakeStorageV2Hook(conn_id).service_client
    except (AirflowNotFoundException, TypeError, ValueError) as error:
        raise _connection_error(conn_id, f"its fields make no client: {type(error).__name__}") from error
    raise _connection_error(conn_id, f"type {kind}")


def _require_no_sas_in_extra(connection: Connection) -> None:
    """Refuse what Airflow's Data Lake connections ignore: an identity would be tried in its place."""
    if "sas_token" in connection.extra_dejson:
        raise _connection_error(
            connection.conn_id, "a sas_token, which type adls ignores; there a SAS token is the password"
        )


def _other_account(conn_id: str, account: str, location: BlobLocation) -> ConfigurationError:
    return ConfigurationError(
        "The connection of the storage account belongs to another account than the address.",
        code="storage-connection-account",
        got=f"{conn_id}: {account}; the address: {location.account}",
        expected="both of one account",
        action="correct the address or the connection; an account that anybody may read is read without "
        "CONFIDENTIAL_SPARK_BLOB_CONN_ID, and results have a connection of their own, "
        "CONFIDENTIAL_SPARK_RESULTS_CONN_ID",
    )


def _connection_error(conn_id: str, got: str) -> ConfigurationError:
    return ConfigurationError(
        "The connection of the storage account is not usable.",
        code="storage-connection-invalid",
        got=f"{conn_id}: {got}",
        expected="type wasb with the account's name as login, or its https:// address as host; "
        "or type adls with the account's name as host",
        action="correct the connection, or CONFIDENTIAL_SPARK_BLOB_CONN_ID; docs/azure.md shows each kind",
    )
