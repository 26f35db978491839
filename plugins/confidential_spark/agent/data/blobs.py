"""The month's blobs: exactly the listed ones, from Azure Blob Storage to private storage, hashed on the way.

Source: REST API of the Blob service, `Get Blob` with `Range` and `If-Match`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from confidential_spark.agent.bounded_http import BoundedHttp, CallLimits, Failure, HttpError
from confidential_spark.agent.data.files import InputFile, not_read
from confidential_spark.agent.data.input_source import require_name
from confidential_spark.agent.errors import AgentError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# Of the answers' form; a SAS names its own.
API_VERSION = "2021-12-02"
# One request: what fits into memory, and must arrive within one try's time.
RANGE_BYTES = 8 * 1024 * 1024
LIMITS = CallLimits(
    attempts=8, first_delay=1.0, deadline=300.0, try_timeout=60.0, max_answer_bytes=RANGE_BYTES
)
MAX_BLOB_BYTES = 64 * 1024**3
ETAG = re.compile(r"[!#-~]{1,100}")
SAS = re.compile(r"(?:[a-z]{1,12}=[\w%+/=:.,~-]{1,512}(?:&|\Z)){0,32}", re.ASCII)

# 409 is PublicAccessNotPermitted.
DENIED, CHANGED = (401, 403, 409), (412, 416)
# 409, too: a blob that nobody can read until it is moved to another tier.
ARCHIVED = ("BlobArchived", "BlobBeingRehydrated")


@dataclass(frozen=True)
class ListedBlob:
    """One blob to download.

    :param etag: the version that was listed; no other is read.
    :param sas: the right to read it, as an encoded query; empty where anybody may.
    """

    name: str
    bytes: int
    etag: str
    sas: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        """Refuse what no pipeline lists.

        :raises ValueError: naming the blob.
        :raises TypeError: a member of another type.
        """
        require_name(self.name)
        if type(self.bytes) is not int or not 0 < self.bytes <= MAX_BLOB_BYTES:
            raise ValueError(f"no size from 1 to {MAX_BLOB_BYTES} bytes: {self.name!r}")
        if not ETAG.fullmatch(self.etag) or not SAS.fullmatch(self.sas):
            raise ValueError(f"no ETag, or no SAS, which is not shown: {self.name!r}")


@dataclass(frozen=True)
class BlobSource:
    """The blobs of an input, below one address, with the right to read each."""

    url: str
    blobs: Sequence[ListedBlob]

    @classmethod
    def of(cls, url: Any, records: Any) -> BlobSource:
        """Read the members ``input`` and ``input_files`` of a launch file that has both.

        :raises ValueError: as :func:`listed_blobs`, as does TypeError.
        """
        return cls(str(url), listed_blobs(records))

    def download(self, folder: Path) -> list[InputFile]:
        """Download all, as :func:`download` does."""
        return download(BoundedHttp(self.url, LIMITS), self.blobs, folder)


def listed_blobs(records: Sequence[Any]) -> list[ListedBlob]:
    """Read the list in a launch file.

    :raises ValueError: it is no such list.
    :raises TypeError: a record has other members.
    """
    blobs = [ListedBlob(**record) for record in records]
    if not blobs or len({blob.name for blob in blobs}) < len(blobs):
        raise ValueError("no blob at all, or one twice")
    return blobs


def download(http: BoundedHttp, blobs: Sequence[ListedBlob], folder: Path) -> list[InputFile]:
    """Download blobs into an empty folder, and return what was written, hashed.

    :param http: client of the blobs' common prefix.
    :raises AgentError: ``storage-…``; ``input-not-read``: there is no room for them.
    """
    return [_download(http, blob, folder) for blob in blobs]


def _download(http: BoundedHttp, blob: ListedBlob, folder: Path) -> InputFile:
    digest = hashlib.sha256()
    try:
        with (folder / blob.name).open("xb") as file:
            for start in range(0, blob.bytes, RANGE_BYTES):
                part = _read_range(http, blob, start, min(start + RANGE_BYTES, blob.bytes))
                digest.update(part)
                file.write(part)
    except OSError as error:
        raise not_read(blob.name, error) from error
    return InputFile(f"{http.base_url}/{quote(blob.name)}", blob.bytes, digest.hexdigest())


def _read_range(http: BoundedHttp, blob: ListedBlob, start: int, end: int) -> bytes:
    wanted = f"bytes={start}-{end - 1}"
    headers = {"x-ms-version": API_VERSION, "Range": wanted, "If-Match": f'"{blob.etag}"'}
    try:
        path = f"/{quote(blob.name)}" + (f"?{blob.sas}" if blob.sas else "")
        answer = http.call("GET", path, headers=headers)
        sent = f"{answer.headers.get('Content-Range')}, {len(answer.body)} bytes"
        expected = f"bytes {start}-{end - 1}/{blob.bytes}, {end - start} bytes"
        if sent != expected:
            raise HttpError(Failure.GARBAGE, "The answer is another range.", sent, expected)
    except HttpError as error:
        raise _failed(blob, error) from error
    return answer.body


def _failed(blob: ListedBlob, error: HttpError) -> AgentError:
    word, exit_code = str(error.failure), ExitCode.INPUT_UNUSABLE
    if error.code in ARCHIVED:
        word = "blob-archived"
    elif error.status in DENIED:
        word = "denied"
    elif error.status == HTTPStatus.NOT_FOUND:
        word = "blob-missing"
    elif error.status in CHANGED:
        word, exit_code = "blob-changed", ExitCode.INPUT_CHANGED
    return AgentError(
        f"A blob was not downloaded. {error.message}",
        exit_code=ExitCode.SERVICE_UNAVAILABLE if error.retryable else exit_code,
        code=f"storage-{word}",
        got=f"{blob.name}: {error.got}",
        expected=error.expected,
        action="see docs/runbooks/storage.md",
    )
