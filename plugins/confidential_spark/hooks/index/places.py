"""Where the index of a DAG's results is: in its folder, or below its prefix in Blob."""

from __future__ import annotations

import os
import stat
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from confidential_spark.hooks.durable_files import exclusive, storage_errors, sync
from confidential_spark.hooks.index.index import FILE, MAX_INDEX_BYTES
from confidential_spark.hooks.results.location import blob_folder_at, is_folder
from confidential_spark.hooks.results.store import KEY_PREFIXES, SAFE_NAME, VERSIONS, require_safe

if TYPE_CHECKING:
    from confidential_spark.hooks.index.index import IndexFile
    from confidential_spark.hooks.results.blob_folder import BlobFolder
    from confidential_spark.hooks.results.store import Location

LOCK_TIMEOUT_S = 10.0
TOO_LARGE = "too large"


def index_file(location: Location, dag_id: str) -> IndexFile:
    """Return where the index of a DAG's results is; nothing is read yet.

    :param location: the deployment's ``results_dir``.
    :raises ConfigurationError: ``results-name``, and as :func:`.results_at`.
    """
    if is_folder(location):
        return FolderIndex(Path(location), dag_id)
    return BlobIndex(blob_folder_at(str(location)), dag_id)


class FolderIndex:
    """``{root}/{dag_id}/.index.json``: writers take turns by a lock, readers see the old one or the new one.

    :raises ConfigurationError: ``results-name``.
    """

    def __init__(self, root: Path, dag_id: str) -> None:
        """Name the files; nothing is created yet."""
        self.dag_id = require_safe("DAG id", dag_id)
        self._home = root / dag_id

    def read(self) -> tuple[bytes, str] | None:
        """Return the content and its digest; a link, a pipe or a folder in its place is none."""
        try:
            descriptor = os.open(
                self._home / FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            )
        except OSError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            content = file.read(MAX_INDEX_BYTES + 1)
        if len(content) > MAX_INDEX_BYTES:
            return b"", TOO_LARGE
        return content, sha256(content).hexdigest()

    def replace(self, content: bytes, state: str) -> bool:
        """Replace it under the lock.

        :raises ResultError: ``results-unwritable``, ``disk-full``, ``results-locked``.
        """
        locks = self._home / ".locks"
        with storage_errors("write the index of results"):
            locks.mkdir(parents=True, exist_ok=True)
            with exclusive(locks / "index.lock", LOCK_TIMEOUT_S):
                found = self.read()
                if (found[1] if found else "") != state:
                    return False
                draft = self._home / f"{FILE}.new"
                draft.unlink(missing_ok=True)
                draft.write_bytes(content)
                sync(draft)
                draft.replace(self._home / FILE)
        return True

    def versions(self) -> dict[str, str]:
        """Return where the links lead that are commit markers."""
        found: dict[str, str] = {}
        try:
            with os.scandir(self._home) as entries:
                for entry in entries:
                    if entry.name.startswith(KEY_PREFIXES) and entry.is_symlink():
                        target = os.readlink(entry.path)  # noqa: PTH115 - half the time
                        version = target.removeprefix(f"{VERSIONS}/{entry.name}/")
                        if version != target and SAFE_NAME.fullmatch(version) and entry.is_dir():
                            found[entry.name] = version
        except OSError:
            return {}
        return found


class BlobIndex:
    """The blob ``{prefix}/{dag_id}/.index.json``: a writer replaces the one that it has read.

    :raises ConfigurationError: ``results-name``.
    """

    def __init__(self, folder: BlobFolder, dag_id: str) -> None:
        """Name the blob; nothing is asked yet."""
        self.dag_id = require_safe("DAG id", dag_id)
        self._folder = folder
        self._name = f"{dag_id}/{FILE}"

    def read(self) -> tuple[bytes, str] | None:
        """Return the content and its ETag."""
        try:
            return self._folder.read(self._name, MAX_INDEX_BYTES)
        except ValueError:
            listed = (entry for entry in self._folder.entries(self._name) if entry.name == self._name)
            return next(((b"", entry.etag) for entry in listed), None)

    def replace(self, content: bytes, state: str) -> bool:
        """Replace it if it still has that ETag."""
        return self._folder.write(self._name, content, replaces=state)

    def versions(self) -> dict[str, str]:
        """Return the versions that the commit markers name, from their listing."""
        from confidential_spark.hooks.results.blob_marker import ENDING

        found: dict[str, str] = {}
        for kind in KEY_PREFIXES:
            for entry in self._folder.entries(f"{self.dag_id}/{kind}"):
                name, version = entry.name.partition("/")[2], entry.metadata.get("version", "")
                if name.endswith(ENDING) and "/" not in name and SAFE_NAME.fullmatch(version):
                    found[name.removesuffix(ENDING)] = version
        return found
