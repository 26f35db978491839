"""A month of blobs, judged before an enclave downloads it, and compared with its statement afterwards."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from confidential_spark.agent.bounded_http import BoundedHttp
from confidential_spark.agent.data import blobs as enclave
from confidential_spark.agent.errors import AgentError
from confidential_spark.core.errors import ConfidentialSparkError, InputError
from confidential_spark.core.failures import classify
from confidential_spark.hooks.blob.account import BlobAccount
from confidential_spark.hooks.blob.listing import BlobListing
from confidential_spark.hooks.blob.settings import blob_settings
from confidential_spark.hooks.blob.skeleton import MonthSkeleton
from confidential_spark.hooks.bounded_http import trusted_authorities
from confidential_spark.hooks.task_folder import task_folder
from confidential_spark.jobs.input.blob_location import parse_blob_location
from confidential_spark.jobs.input.file_count import require_few_blobs
from confidential_spark.jobs.input.layouts import month_input
from confidential_spark.jobs.input.manifest import InputFile, manifest_of
from confidential_spark.jobs.input.parquet.footer import read_footer
from confidential_spark.jobs.input.parquet.page_checksums import require_page_checksums
from confidential_spark.jobs.input.parquet.survival import require_survivable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import timedelta
    from pathlib import Path

    from confidential_spark.core.months import Month
    from confidential_spark.jobs.input.contract import InputContract
    from confidential_spark.jobs.input.manifest import InputManifest
    from confidential_spark.jobs.input.parquet.footer import Footer


class BlobMonth:
    """A month's input in Azure Blob Storage.

    :param location: an address, or a template.
    :raises ConfigurationError: ``input-uri``, ``input-scheme``, ``input-credential``,
        ``storage-connection-…``.
    """

    def __init__(self, location: str) -> None:
        """Read the address and the connection; nothing is asked of the account yet."""
        settings = blob_settings()
        place = parse_blob_location(location, suffix=settings.suffix, emulator=settings.emulator)
        self.account = BlobAccount.of(place, settings)

    def manifest(self, month: Month, contract: InputContract) -> InputManifest:
        """Return the manifest, by list and footers alone: files have size and version, and no SHA-256.

        :raises InputError: as :func:`.manifest.read_manifest`, and ``storage-…``, ``input-too-many-files``.
        """
        with task_folder("month") as folder:
            skeleton = MonthSkeleton(BlobListing(self.account), folder)
            with _addresses_for(skeleton, self.account):
                place, paths = month_input(skeleton.build(month), month)
                require_few_blobs(len(paths), skeleton.address(place.parent if place.is_file() else place))
                skeleton.fill(paths)
                require_survivable(paths)
                inspected = [_inspect(path, skeleton.blobs[path].etag) for path in paths]
                uri = skeleton.address(place.parent if place.is_file() else place)
                return manifest_of(uri, month, contract, paths, inspected)

    def rights(self, files: Sequence[Mapping[str, Any]], lifetime: timedelta) -> list[dict[str, Any]]:
        """Return listed files with what lets an enclave read each, for its launch file.

        :param files: name, bytes and etag of each.
        :raises InputError: ``storage-…``.
        """
        folder = self.account.location.path
        paths = {file["name"]: f"{folder}/{file['name']}".lstrip("/") for file in files}
        rights = self.account.rights(list(paths.values()), lifetime)
        return [{**file, "sas": rights[paths[file["name"]]]} for file in files]

    def copy(self, files: Sequence[Mapping[str, Any]], lifetime: timedelta, folder: Path) -> list[str]:
        """Download listed files into an empty folder, as the enclave does, and return the SHA-256 of each.

        :raises InputError: ``storage-…``.
        """
        client = BoundedHttp(
            self.account.location.url(self.account.location.path), enclave.LIMITS, trust=trusted_authorities
        )
        try:
            listed = enclave.listed_blobs(self.rights(files, lifetime))
            return [file.sha256 for file in enclave.download(client, listed, folder)]
        except AgentError as error:
            found = classify([str(error)], error.exit_code).error()
            raise InputError(
                found.message, code=found.code, got=str(error), action=found.action, retryable=found.retryable
            ) from error


def judge_copy(
    now: InputManifest, folder: Path, digests: Sequence[str], month: Month, contract: InputContract
) -> InputManifest:
    """Return the manifest of downloaded files: what was listed, with the digests of what came.

    :param now: what was listed when they were downloaded.
    :raises InputError: as :func:`.manifest.read_manifest`; ``input-checksum``.
    """
    paths = [folder / file.name for file in now.files]
    require_survivable(paths)
    inspected = [
        _inspect(path, file.etag, sha256)
        for path, file, sha256 in zip(paths, now.files, digests, strict=True)
    ]
    manifest = manifest_of(f"file://{folder}", month, contract, paths, inspected)
    require_page_checksums(manifest)
    return manifest


def _inspect(path: Path, etag: str, sha256: str = "") -> tuple[InputFile, Footer]:
    with path.open("rb") as stream:
        footer = read_footer(stream, path.name)
    return InputFile(path.name, footer.bytes, sha256, footer.rows, footer.row_groups, etag), footer


@contextmanager
def _addresses_for(skeleton: MonthSkeleton, account: BlobAccount) -> Iterator[None]:
    """Let errors about files on disk speak of the blobs that these stand for."""
    try:
        yield
    except ConfidentialSparkError as error:
        there = account.location.container_url
        got, expected = (
            text and text.replace(str(skeleton.root), there) for text in (error.got, error.expected)
        )
        raise type(error)(
            error.message.replace(str(skeleton.root), there),
            code=error.code,
            got=got,
            expected=expected,
            action=error.action,
            retryable=error.retryable,
        ) from error
