"""A month of blobs on its way through a run: rights for the enclave, and a copy for the checks."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from confidential_spark.core.errors import ConfigurationError
from confidential_spark.core.platforms import Platform
from confidential_spark.hooks.task_folder import task_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from confidential_spark.core.months import Month
    from confidential_spark.jobs.input.contract import InputContract
    from confidential_spark.jobs.input.manifest import InputManifest
    from confidential_spark.settings import Settings

# Of what `resolve_input` returns, where the input is blobs: the location as it was given, and their list.
LOCATION, BLOBS = "location", "blobs"
# A download begins soon after its rights are made; Spark needs none of them.
COPY_LIFETIME = timedelta(hours=2)


def require_platform_reads_blobs(platform: Platform) -> None:
    """Refuse blobs where executors would have to download them too.

    :raises ConfigurationError: ``input-scheme``.
    """
    if platform is Platform.AKS:
        raise ConfigurationError(
            "Enclaves on `aks` do not read Azure Blob Storage yet.",
            code="input-scheme",
            got=f"blobs on {platform}",
            expected="file:// or a plain path",
            action="copy the month to the machine of Airflow's tasks, or run it on another platform",
        )


def enclave_blobs(manifest: Mapping[str, Any] | None, settings: Settings) -> list[dict[str, Any]] | None:
    """Return what the enclave is to download, each with the right to read it; None for files.

    :param manifest: what `resolve_input` returned.
    :raises InputError: ``storage-…``.
    :raises ConfigurationError: ``storage-connection-invalid``.
    """
    if not manifest or BLOBS not in manifest:
        return None
    # Imported late: a month on files needs none of Azure's libraries.
    from confidential_spark.hooks.blob.month import BlobMonth

    lifetime = timedelta(minutes=settings.spark_timeout_minutes)
    return BlobMonth(manifest["uri"]).rights(manifest[BLOBS], lifetime)


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
