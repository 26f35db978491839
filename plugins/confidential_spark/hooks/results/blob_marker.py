"""The commit marker of one key in Blob: one small blob that names the version that readers see.

    {"v": 1, "key": "month=2018-05", "version": "<attempt>", "published_at": "2026-11-29T01:00:00Z",
     "files": {"summary.json": {"size": 1234, "sha256": "<hex>"}, …},
     "replaced": [{"version": "<attempt>", "at": "2026-11-29T01:00:00Z"}, …]}

`files` lists the version's files, so that a reader needs no listing and can tell an altered file. `replaced`
lists the versions that readers saw before, while they are kept.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from confidential_spark.core.errors import ResultError
from confidential_spark.hooks.results.store import (
    MAX_JSON_BYTES,
    SAFE_NAME,
    VERSIONS,
    VersionFiles,
    require_file_name,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from confidential_spark.hooks.results.blob_folder import BlobFolder

MAX_MARKER_BYTES = 16 * 1024 * 1024
ENDING = ".json"


def _safe(name: str) -> str:
    if SAFE_NAME.fullmatch(name) is None:
        raise ValueError("no safe name")
    return name


Name = Annotated[str, AfterValidator(_safe)]
FileName = Annotated[str, AfterValidator(require_file_name)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileDigest(_Part):
    """Size and SHA-256 of one file."""

    size: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @classmethod
    def of(cls, content: bytes) -> Self:
        """Return those of a content."""
        return cls(size=len(content), sha256=hashlib.sha256(content).hexdigest())


class Replaced(_Part):
    """A version that readers saw before, and when it was replaced."""

    version: Name
    at: AwareDatetime


class Marker(_Part):
    """What readers see of one key."""

    v: Literal[1] = 1
    key: Name
    version: Name
    published_at: AwareDatetime
    files: dict[FileName, FileDigest]
    replaced: tuple[Replaced, ...] = ()

    @classmethod
    def parse(cls, content: bytes, where: str) -> Self:
        """Read a marker.

        :raises ResultError: ``results-obstructed``: something else stands in its place.
        """
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            raise ResultError(
                "Something else stands where the results should be published.",
                code="results-obstructed",
                got=f"{where}: {error.errors()[0]['msg']}",
                expected="nothing, or the commit marker that an earlier publication wrote",
                action="move it away, then clear the task",
            ) from error

    def to_bytes(self) -> bytes:
        """Return it as it is stored."""
        return (self.model_dump_json(indent=1) + "\n").encode()

    def was_replaced(self, version: str) -> bool:
        """Whether readers saw this version, and no longer see it."""
        return any(each.version == version for each in self.replaced)

    def holds(self, files: Mapping[str, FileDigest]) -> bool:
        """Whether these are files of its version, all or some."""
        return files.items() <= self.files.items()

    def followed_by(self, version: str, files: Mapping[str, FileDigest], now: datetime) -> Marker:
        """Return the marker of the next version; this one's is replaced now."""
        replaced = (*self.replaced, Replaced(version=self.version, at=now))
        return Marker(key=self.key, version=version, published_at=now, files=dict(files), replaced=replaced)

    def over(self, grace: timedelta, now: datetime) -> list[str]:
        """Return the replaced versions that are no longer kept."""
        return [each.version for each in self.replaced if each.at < now - grace]

    def without(self, versions: list[str]) -> Marker:
        """Return the marker without these replaced versions."""
        kept = tuple(each for each in self.replaced if each.version not in versions)
        return self.model_copy(update={"replaced": kept})


class BlobFiles(VersionFiles):
    """The files that a marker names; each is compared with its SHA-256 there."""

    def __init__(self, folder: BlobFolder, dag_id: str, marker: Marker) -> None:
        """Keep the marker: everything is read from its version."""
        self._folder = folder
        self._place = f"{dag_id}/{VERSIONS}/{marker.key}/{marker.version}"
        self.marker = marker
        self.location = f"{folder.url}/{self._place}"

    def names(self) -> list[str]:
        """Return the names that the marker lists."""
        return sorted(self.marker.files)

    def content(self, name: str, limit: int = MAX_JSON_BYTES) -> bytes:
        """Return a file's content.

        :raises ResultError: ``results-altered``, and what the storage refuses.
        """
        listed = self.marker.files.get(name)
        if listed is None:
            raise FileNotFoundError(f"no file {name} in {self.location}")
        if listed.size > limit:
            raise ValueError(f"more than {limit} bytes")
        found = self._folder.read(f"{self._place}/{name}", limit)
        if found is None:
            raise FileNotFoundError(f"no blob {self.location}/{name}")
        if (digest := FileDigest.of(found[0])) != listed:
            raise ResultError(
                "A published file is not the one that was published.",
                code="results-altered",
                got=f"{self.location}/{name}: SHA-256 {digest.sha256}",
                expected=listed.sha256,
                action="treat it as an attack: find out what else may write below the results",
            )
        return found[0]
