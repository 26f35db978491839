"""A month of blobs on its way through a run: rights for the enclave, and a copy for the checks."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from confidential_spark.hooks.blob.sas_rights import excess_rights, expires_early
from confidential_spark.hooks.task_folder import task_folder
from confidential_spark.jobs.input.location import parquet_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from confidential_spark.core.months import Month
    from confidential_spark.jobs.input.contract import InputContract
    from confidential_spark.jobs.input.manifest import InputManifest
    from confidential_spark.settings import Settings

log = logging.getLogger(__name__)
# Of what `resolve_input` returns, where the input is blobs: the location as it was given, and their list.
LOCATION, BLOBS = "location", "blobs"
# A download of our own begins as soon as its rights are made.
COPY_LIFETIME = timedelta(hours=2)


def files_to_send(manifest: Mapping[str, Any] | None) -> list[Path]:
    """Return the files that go to the enclave's machine: none where the enclave downloads blobs.

    :param manifest: what `resolve_input` returned.
    """
    if not manifest or BLOBS in manifest:
        return []
    return parquet_files(manifest["uri"])


def enclave_blobs(manifest: Mapping[str, Any] | None, settings: Settings) -> list[dict[str, Any]] | None:
    """Return what the enclave is to download, each with the right to read it; None for files.

    The rights last as long as a run: an executor that takes another one's place downloads late.

    :param manifest: what `resolve_input` returned.
    :raises InputError: ``storage-…``.
    :raises ConfigurationError: ``storage-connection-…``.
    """
    if not manifest or BLOBS not in manifest:
        return None
    # Imported late: a month on files needs none of Azure's libraries.
    from confidential_spark.hooks.blob.month import BlobMonth

    lifetime = timedelta(minutes=settings.spark_timeout_minutes)
    month = BlobMonth(manifest["uri"])
    _warn_of(month.account.sas, datetime.now(UTC) + lifetime)
    return month.rights(manifest[BLOBS], lifetime)


def _warn_of(sas: str, ends: datetime) -> None:
    """Say in the task's log what the connection's SAS token allows beyond the run, or that it ends before it.

    :param ends: when the enclave may read last.
    """
    if found := excess_rights(sas, ends):
        log.warning(
            "The SAS token of the input's connection reaches the enclave as it is, and allows more than this "
            "run takes: %s. Give the connection a token that reads and lists its one container for hours "
            "(sp=rl, sr=c), or an account key or an identity, which stay here: docs/azure.md",
            ", ".join(found),
        )
    if expiry := expires_early(sas, ends):
        log.warning(
            "The SAS token of the input's connection expires at %s. An enclave that starts late may read "
            "until %s, and would be refused",
            f"{expiry:%Y-%m-%d %H:%M} UTC",
            f"{ends:%Y-%m-%d %H:%M} UTC",
        )


@contextmanager
def checked_input(
    manifest: Mapping[str, Any] | None, month: Month | None, contract: InputContract | None
) -> Iterator[Callable[[], InputManifest] | None]:
    """Yield what reads a month of blobs as it is now, from a private copy; None for files.

    The copy is made at once: an account that is away is worth a retry, and no failed check.

    :raises InputError: ``storage-…``, and what else is wrong with the month now.
    """
    if not manifest or BLOBS not in manifest or month is None or contract is None:
        yield None
        return
    from confidential_spark.hooks.blob.month import BlobMonth, judge_copy

    now = BlobMonth(manifest[LOCATION]).manifest(month, contract)
    with task_folder("input") as folder:
        digests = BlobMonth(now.uri).copy(now.summary()[BLOBS], COPY_LIFETIME, folder)
        yield lambda: judge_copy(now, folder, digests, month, contract)
