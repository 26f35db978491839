"""Local copies of versions in Blob, for readers that verify whole folders, such as the pages.

A copy is of the blobs below the prefix of a version, whatever they are: the verifier judges them. It is found
again by their ETags, so that any change of a blob makes another copy.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from confidential_spark.core.errors import ResultError
from confidential_spark.hooks.durable_files import best_effort, storage_errors
from confidential_spark.hooks.index.places import BlobIndex
from confidential_spark.hooks.results.blob_marker import ENDING, MAX_MARKER_BYTES, Marker
from confidential_spark.hooks.results.blob_tries import download
from confidential_spark.hooks.results.store import KEY_PREFIXES, SAFE_NAME, VERSIONS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from confidential_spark.hooks.index.index import IndexFile
    from confidential_spark.hooks.results.blob_folder import BlobFolder, Entry

MAX_COPIES = 500
MAX_COPY_BYTES = 1024 * 1024 * 1024


class BlobCopies:
    """What is published in Blob as one request of a page sees it: each listing is asked for once.

    :param folder: the deployment's results.
    :param cache: a folder of this machine; safe to delete.
    """

    def __init__(self, folder: BlobFolder, cache: Path) -> None:
        """Ask nothing yet."""
        self._folder = folder
        self._cache = cache
        self._current: dict[str, dict[str, str]] = {}
        self._blobs: dict[str, dict[tuple[str, str], list[Entry]]] = {}

    @property
    def url(self) -> str:
        """The address of the deployment's results."""
        return self._folder.url

    def current(self, dag_id: str) -> dict[str, str]:
        """Return what a DAG has published: key → version that readers see."""
        if SAFE_NAME.fullmatch(dag_id) is None:
            return {}
        if dag_id not in self._current:
            found: dict[str, str] = {}
            for kind in KEY_PREFIXES:
                for entry in self._folder.entries(f"{dag_id}/{kind}"):
                    name, version = entry.name.partition("/")[2], entry.metadata.get("version", "")
                    if name.endswith(ENDING) and "/" not in name and SAFE_NAME.fullmatch(version):
                        found[name.removesuffix(ENDING)] = version
            self._current[dag_id] = found
        return self._current[dag_id]

    def index(self, dag_id: str) -> IndexFile:
        """Return where the index of a DAG's results is."""
        return BlobIndex(self._folder, dag_id)

    def place(self, dag_id: str, key: str, version: str) -> Path | None:
        """Return where the copy of a version is, or would be; None when there is no such version.

        :param key: one of :meth:`current`.
        """
        blobs = self._versions(dag_id).get((key, version))
        if not blobs:
            return None
        state = "\n".join(f"{blob.name}\t{blob.etag}" for blob in blobs)
        return self._cache / hashlib.sha256(f"{self._folder.url}\n{state}".encode()).hexdigest() / version

    def replaced(self, dag_id: str, key: str) -> dict[str, datetime]:
        """Return the versions of a key that were replaced and are still kept, and when that was.

        A marker that is malformed names none: what is published follows from its metadata.

        :raises ResultError: what the storage refuses.
        """
        if key not in self.current(dag_id):
            return {}
        name, there = f"{dag_id}/{key}{ENDING}", self._versions(dag_id)
        try:
            found = self._folder.read(name, MAX_MARKER_BYTES)
            replaced = Marker.model_validate_json(found[0]).replaced if found else ()
        except ValueError:
            return {}
        return {each.version: each.at for each in replaced if (key, each.version) in there}

    def fetch(self, dag_id: str, key: str, place: Path) -> None:
        """Make the copy unless it is there; the ones that were used longest ago are removed.

        :raises ResultError: ``results-too-large``, ``results-unusable`` and what the storages refuse.
        """
        with storage_errors("copy results to this machine"):
            self._cache.mkdir(parents=True, exist_ok=True)
            if not place.is_dir():
                self._download(dag_id, key, place)
                self._remove_oldest()
            os.utime(place.parent)

    def _versions(self, dag_id: str) -> dict[tuple[str, str], list[Entry]]:
        """Return the blobs of a DAG's versions, by key and version."""
        if dag_id not in self._blobs:
            below = f"{dag_id}/{VERSIONS}/"
            found: dict[tuple[str, str], list[Entry]] = {}
            for blob in self._folder.entries(below):
                key, _, rest = blob.name.removeprefix(below).partition("/")
                version, _, name = rest.partition("/")
                if name and SAFE_NAME.fullmatch(version):
                    found.setdefault((key, version), []).append(blob)
            self._blobs[dag_id] = found
        return self._blobs[dag_id]

    def _download(self, dag_id: str, key: str, place: Path) -> None:
        version, below = place.name, f"{dag_id}/{VERSIONS}/{key}/{place.name}/"
        blobs = self._versions(dag_id)[key, version]
        _require_small(f"{self._folder.url}/{below}", blobs)
        with tempfile.TemporaryDirectory(prefix=".copy-", dir=self._cache) as private:
            made = Path(private, "made", version)
            made.mkdir(parents=True)
            download(self._folder, below, blobs, made)
            # Where another process was faster, its copy is of the same blobs.
            with best_effort("keep a copy"):
                made.parent.rename(place.parent)

    def _remove_oldest(self) -> None:
        with best_effort("remove old copies"):
            copies = [path for path in self._cache.iterdir() if not path.name.startswith(".")]
            for oldest in sorted(copies, key=lambda path: path.stat().st_mtime)[:-MAX_COPIES]:
                shutil.rmtree(oldest)


def _require_small(where: str, blobs: Sequence[Entry]) -> None:
    size = sum(blob.size for blob in blobs)
    if size > MAX_COPY_BYTES:
        raise ResultError(
            "The version is too large to be copied while somebody waits for a page.",
            code="results-too-large",
            got=f"{where}: {size:,} bytes",
            expected=f"at most {MAX_COPY_BYTES:,}",
            action="`confidential-spark results get`, and verify the copy",
        )
