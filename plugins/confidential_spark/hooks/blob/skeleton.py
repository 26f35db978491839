"""A month's skeleton: files of the names and sizes of its blobs, with holes where their data would be.

What judges a folder on disk judges a month of blobs by it: which layout it has, whether it is a table or half
written, and what its footers say. A file has its real first bytes and its real end; of the marks that writers
leave, it has all. So one code decides for both, and a month of a gigabyte costs a few megabytes.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from confidential_spark.core.errors import InputError
from confidential_spark.jobs.input.folder import MAX_COMMIT_BYTES
from confidential_spark.jobs.input.layouts import TLC_LAYOUT
from confidential_spark.jobs.input.location import AZURE_LAYOUT, MONTH_FOLDER, month_uri
from confidential_spark.jobs.input.parquet.footer import MAGIC, TAIL_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from confidential_spark.core.months import Month
    from confidential_spark.hooks.blob.listing import Blob, BlobListing

READING_THREADS = 4
# Read at once; most footers are shorter.
FIRST_TAIL_BYTES = 64 * 1024
MAX_FOOTER_BYTES = 64 * 1024 * 1024
COMMIT_MARKS = ("_committed_", "_started_")
# What can stand beside the data in a folder of the layout, and says that its files do not all count.
MARKS = ("_", ".")


class MonthSkeleton:
    """The skeletons of the places where a location may have a month.

    :param root: an empty folder, which stands for the container.
    """

    def __init__(self, listing: BlobListing, root: Path) -> None:
        """Make nothing yet."""
        self.listing = listing
        self.root = root
        self.blobs: dict[Path, Blob] = {}

    def build(self, month: Month) -> str:
        """Make the skeletons, and return the location on disk that stands for the account's.

        :raises InputError: ``storage-…``, ``input-foreign-file``, ``input-too-many-files``.
        """
        template = self.listing.account.location.path
        is_template = "{" in template or "}" in template
        given = month_uri(template, month) if is_template else template
        places = [given]
        if is_template:
            self._make_parents(given)
        else:
            places += [f"{given}/{_of(layout, month)}".lstrip("/") for layout in (AZURE_LAYOUT, TLC_LAYOUT)]
            self._make(self.listing.folder(given, "yellow_tripdata_"))
        for place in places:
            self._make_place(place, counts=place != template or MONTH_FOLDER.search(place) is not None)
        self._make_marks(places)
        return str(self.root / template)

    def fill(self, paths: Iterable[Path]) -> None:
        """Put heads and footers into the skeletons of these files.

        :raises InputError: ``storage-…``.
        """
        with ThreadPoolExecutor(READING_THREADS) as threads:
            list(threads.map(self._fill, paths))

    def address(self, path: Path) -> str:
        """Return the address of what a path on disk stands for."""
        location = self.listing.account.location
        if path in self.blobs:
            return location.url(self.blobs[path].path)
        relative = path.relative_to(self.root).as_posix()
        return location.url("" if relative == "." else relative)

    def _make_parents(self, place: str) -> None:
        """Make the folders above a place that have blobs: other months, or none, tell what is missing."""
        for parent in (place.rpartition("/")[0], place.rpartition("/")[0].rpartition("/")[0]):
            if parent and self.listing.has_folder(parent):
                (self.root / parent).mkdir(parents=True, exist_ok=True)

    def _make_place(self, place: str, *, counts: bool) -> None:
        """Make one file, or a folder; with all that is directly in it where that counts as the month's."""
        if place and (blob := self.listing.blob(place)):
            self._make([blob])
        elif self.listing.has_folder(place):
            (self.root / place).mkdir(parents=True, exist_ok=True)
            if counts:
                self._make(self.listing.folder(place))

    def _make_marks(self, places: Iterable[str]) -> None:
        """Make the logs and marks in the places, and in all folders above them."""
        above = {
            "/".join(place.split("/")[:depth]) for place in places for depth in range(place.count("/") + 1)
        }
        for folder in sorted(above | set(places)):
            for mark in MARKS:
                self._make(self.listing.folder(folder, mark))
            self._make(self.listing.folder(f"{folder}/metadata".lstrip("/")))

    def _make(self, blobs: Iterable[Blob]) -> None:
        for blob in blobs:
            path = self._on_disk(blob.path)
            try:
                if blob.is_folder:
                    path.mkdir(parents=True, exist_ok=True)
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as file:
                    file.truncate(blob.bytes)
            except OSError as error:
                raise _unusable_name(blob.path, error.strerror or "") from error
            self.blobs[path] = blob
            if path.name.startswith(COMMIT_MARKS) and blob.bytes <= MAX_COMMIT_BYTES:
                self._fill_range(path, 0, blob.bytes)

    def _fill(self, path: Path) -> None:
        size = self.blobs[path].bytes
        self._fill_range(path, 0, min(len(MAGIC), size))
        known = min(FIRST_TAIL_BYTES, size)
        tail = self._fill_range(path, size - known, known)
        wanted = int.from_bytes(tail[-TAIL_BYTES : -len(MAGIC)], "little") + TAIL_BYTES
        if known < wanted <= min(size, MAX_FOOTER_BYTES):
            self._fill_range(path, size - wanted, wanted - known)

    def _fill_range(self, path: Path, start: int, length: int) -> bytes:
        if length <= 0:
            return b""
        content = self.listing.read(self.blobs[path], start, length)
        with path.open("r+b") as file:
            os.pwrite(file.fileno(), content, start)
        return content

    def _on_disk(self, path: str) -> Path:
        if {"", ".", ".."}.intersection(path.split("/")):
            raise _unusable_name(path, "a part of it is empty, '.' or '..'")
        return self.root / path


def _of(layout: str, month: Month) -> str:
    return layout.format(year=month.year, month=month.month)


def _unusable_name(path: str, why: str) -> InputError:
    return InputError(
        "A blob's name cannot be the name of a file.",
        code="input-foreign-file",
        got=f"{path}: {why}",
        expected="names of at most 255 bytes, without empty parts, '.' and '..'",
        action="rename the blob, or move it away from the month's folder",
    )
