"""Blobs on their way between pipeline and enclaves that share nothing else: a try's results, a month's files.

    {prefix}/tries/{dag}/{run}/{try}.tar    what one enclave has written, once; removed after the run
    {prefix}/inputs/{digest}/{name}         a month of files, uploaded once for all runs that read it

An enclave gets the right to one blob at a time, signed here for hours.
"""

from __future__ import annotations

import secrets
import shutil
from typing import TYPE_CHECKING, Any

from confidential_spark.core.errors import ConfigurationError, InputError, ResultError
from confidential_spark.enclave.archives import CHUNK_BYTES, unpack_results
from confidential_spark.hooks.durable_files import storage_errors
from confidential_spark.hooks.results.blob_folder import NOTHING, BlobFolder
from confidential_spark.hooks.results.location import account_at, blob_folder_at
from confidential_spark.hooks.task_folder import task_folder
from confidential_spark.jobs.input.location import parquet_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import timedelta
    from pathlib import Path

    from confidential_spark.core.months import Month
    from confidential_spark.hooks.results.blob_folder import Entry
    from confidential_spark.jobs.input.contract import InputContract

TRIES, INPUTS = "tries", "inputs"
# A blob is not there yet, and nothing is read, replaced or deleted with it.
CREATE = "cw"
# Metadata of an uploaded file. Whoever replaces a blob with another tool leaves it out.
SHA256 = "sha256"


class WorkFolder:
    """The blobs below one prefix.

    :param location: its address.
    :raises ConfigurationError: ``results-location``, ``storage-connection-invalid`` or ``…-account``.
    """

    def __init__(self, location: str) -> None:
        """Read the address and the connection; nothing is asked yet."""
        self._account = account_at(location)
        self._folder: BlobFolder = blob_folder_at(location)
        if not self._account.key and self._account.token is None:
            raise ConfigurationError(
                "The connection cannot give an enclave the right to one blob.",
                code="storage-connection-invalid",
                got="a SAS token, or nothing",
                expected="an account key or an identity, which sign a right for each blob",
                action="correct the connection; docs/azure.md shows each kind",
            )

    def results_blob(self, run: str, name: str, lifetime: timedelta) -> dict[str, str]:
        """Return where an enclave writes its results, and the right to do so.

        :param run: the run's own part of the blob's name.
        :raises InputError: ``storage-…``: the account gives the identity no key for signatures.
        """
        path = self._path(f"{TRIES}/{run}/{name}.tar")
        sas = self._account.rights([path], lifetime, permission=CREATE)[path]
        return {"url": self._account.location.url(path), "sas": sas}

    def fetch(self, run: str, name: str, target: Path) -> None:
        """Write what an enclave has written into ``target``, in place of what is there: a dead worker's part.

        :raises ResultError: ``results-missing``, ``results-archive-malformed``, ``results-too-large``, and
            what the storage refuses.
        :raises OSError: the files cannot be written.
        """
        blob = f"{TRIES}/{run}/{name}.tar"
        with task_folder("results") as folder:
            archive = folder / "results.tar"
            for entry in self._folder.entries(blob):
                if entry.name == blob and self._folder.download(entry, archive):
                    for left in sorted(target.rglob("*"), reverse=True):
                        left.rmdir() if left.is_dir() else left.unlink()
                    unpack_results(_chunks(archive), target)
                    return
        raise ResultError(
            "The enclave has ended well, and its results are not there.",
            code="results-missing",
            got=f"no {self._folder.url}/{blob}",
            expected="the blob that the enclave has written",
            action="find out who else deletes below CONFIDENTIAL_SPARK_AKS_WORK; then run again",
        )

    def try_out(self) -> None:
        """Write, find and remove a blob.

        :raises ResultError: what the storage refuses.
        """
        name = f"{TRIES}/.check/{secrets.token_hex(8)}"
        self._folder.write(name, b"", replaces=NOTHING)
        self._folder.delete_all(name)

    def remove_run(self, run: str) -> None:
        """Remove what the enclaves of a run have written.

        :raises ResultError: what the storage refuses.
        """
        self._folder.delete_all(f"{TRIES}/{run}/")

    def stored_input(
        self, manifest: Mapping[str, Any], month: Month, contract: InputContract, lifetime: timedelta
    ) -> tuple[str, list[dict[str, Any]]]:
        """Return the address of a month of files, and each with the right to read it; uploaded once.

        A blob that somebody has replaced since is uploaded again.

        :param manifest: what `resolve_input` returned; its digest names the folder.
        :raises InputError: ``input-changed``, ``storage-blob-changed`` and as :func:`.manifest.read_again`;
            ``storage-…``.
        :raises ResultError: what the storage refuses.
        """
        below = f"{INPUTS}/{manifest['files_sha256']}/"
        sizes = {path.name: path.stat().st_size for path in parquet_files(manifest["uri"])}
        if len(sizes) != manifest["files"]:
            raise _changed(manifest)
        stored = self._stored(below)
        if not _complete(stored, sizes):
            sizes = self._upload(manifest, month, contract, below, stored)
            stored = self._stored(below)
            if not _complete(stored, sizes):
                raise _disturbed(f"{self._folder.url}/{below}")
        paths = {name: self._path(f"{below}{name}") for name in sorted(sizes)}
        rights = self._account.rights(list(paths.values()), lifetime)
        records = [{**_listed(name, stored[name]), "sas": rights[path]} for name, path in paths.items()]
        return self._account.location.url(self._path(below.rstrip("/"))), records

    def _stored(self, below: str) -> dict[str, Entry]:
        return {entry.name.removeprefix(below): entry for entry in self._folder.entries(below)}

    def _upload(
        self,
        manifest: Mapping[str, Any],
        month: Month,
        contract: InputContract,
        below: str,
        stored: Mapping[str, Entry],
    ) -> dict[str, int]:
        """Upload what is not stored, from a private copy that nobody changes after it was hashed.

        Blobs with the same content stay: another run may be reading them.

        :return: bytes of each file.
        """
        from confidential_spark.jobs.input.manifest import read_again

        with task_folder("upload") as folder:
            with storage_errors("copy the month"):
                for path in parquet_files(manifest["uri"]):
                    shutil.copyfile(path, folder / path.name)
            copied = read_again(f"file://{folder}", month, contract)
            if copied.totals().files_sha256 != manifest["files_sha256"]:
                raise _changed(manifest)
            for file in copied.files:
                found = stored.get(file.name)
                if found is None or (found.size, found.metadata.get(SHA256)) != (file.bytes, file.sha256):
                    self._folder.write(
                        f"{below}{file.name}",
                        folder / file.name,
                        replaces=found.etag if found else NOTHING,
                        metadata={SHA256: file.sha256},
                    )
            return {file.name: file.bytes for file in copied.files}

    def _path(self, name: str) -> str:
        return f"{self._account.location.path}/{name}".lstrip("/")


def _complete(stored: Mapping[str, Entry], sizes: Mapping[str, int]) -> bool:
    """Whether each file is stored with its size, as it was uploaded here."""
    return all(
        name in stored and stored[name].size == size and SHA256 in stored[name].metadata
        for name, size in sizes.items()
    )


def _changed(manifest: Mapping[str, Any]) -> InputError:
    return InputError(
        "The month is no longer the one that `resolve_input` has read.",
        code="input-changed",
        got=manifest["uri"],
        expected="the same files",
        action="clear the run from `resolve_input` on, once nobody writes to the month",
    )


def _disturbed(url: str) -> InputError:
    return InputError(
        "Another program replaces or deletes the uploaded month.",
        code="storage-blob-changed",
        got=f"other blobs below {url}",
        expected="the files that this task has just uploaded",
        action="find out who else writes below CONFIDENTIAL_SPARK_AKS_WORK; then run again",
    )


def _listed(name: str, entry: Entry) -> dict[str, Any]:
    return {"name": name, "bytes": entry.size, "etag": entry.etag.strip('"')}


def _chunks(archive: Path) -> Iterator[bytes]:
    with archive.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
