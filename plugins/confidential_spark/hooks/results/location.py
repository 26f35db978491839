"""Which store a results location means: a folder, or a prefix in Azure Blob Storage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from confidential_spark.core.errors import ConfigurationError
from confidential_spark.hooks.results.folder_store import FolderResults
from confidential_spark.settings import get_settings

if TYPE_CHECKING:
    from confidential_spark.hooks.blob.account import BlobAccount
    from confidential_spark.hooks.results.blob_folder import BlobFolder
    from confidential_spark.hooks.results.store import Location, Results, ResultStore


def results_at(location: Location) -> Results:
    """Return the results of a deployment.

    :param location: its ``results_dir``.
    :raises ConfigurationError: ``results-location``, ``storage-connection-…``.
    """
    if is_folder(location):
        return FolderResults(Path(location))
    # Imported late: Azure's libraries are large, and results in a folder need none of them.
    from confidential_spark.hooks.results.blob_store import BlobResults

    return BlobResults(blob_folder_at(str(location)))


def result_store(location: Location, dag_id: str) -> ResultStore:
    """Return one DAG's results.

    :param location: the deployment's ``results_dir``.
    :raises ConfigurationError: ``results-name``, and as :func:`results_at`.
    """
    return results_at(location).store(dag_id)


def store_at(place: str) -> ResultStore:
    """Return one DAG's results.

    :param place: folder or address, ``…/DAG_ID``.
    :raises ConfigurationError: as :func:`result_store`.
    """
    location, _, dag_id = place.rstrip("/").rpartition("/")
    return result_store(location or ".", dag_id)


def is_folder(location: Location) -> bool:
    """Whether a location is a place among this machine's files."""
    return "://" not in str(location)


def blob_folder_at(location: str) -> BlobFolder:
    """Return the blobs below an address, with the credentials of the deployment's connection.

    :raises ConfigurationError: as :func:`account_at`.
    """
    from confidential_spark.hooks.results.blob_folder import BlobFolder

    account = account_at(location)
    prefix = f"{account.location.path}/" if account.location.path else ""
    return BlobFolder(account.container, prefix, location, account.shown)


def account_at(location: str) -> BlobAccount:
    """Return the account of an address, with the credentials of the deployment's connection.

    :raises ConfigurationError: ``results-location``, ``storage-connection-…``.
    """
    from confidential_spark.hooks.blob.account import BlobAccount
    from confidential_spark.hooks.blob.settings import blob_settings
    from confidential_spark.jobs.input.blob_location import parse_blob_location

    settings = blob_settings()
    if conn_id := get_settings().results_conn_id:
        settings = settings.model_copy(update={"conn_id": conn_id})
    try:
        place = parse_blob_location(location, suffix=settings.suffix, emulator=settings.emulator)
    except ConfigurationError as error:
        raise _unusable(error) from error
    if {"{", "}"}.intersection(place.path):
        raise _unusable(None)
    return BlobAccount.of(place, settings)


def _unusable(error: ConfigurationError | None) -> ConfigurationError:
    return ConfigurationError(
        "The location of the results is no folder, and no usable address of blobs.",
        code="results-location",
        got=error.got if error else "a template",
        expected=error.expected if error else "an address without { and }",
        action="correct CONFIDENTIAL_SPARK_RESULTS_DIR",
    )
