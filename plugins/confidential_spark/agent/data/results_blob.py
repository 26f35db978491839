"""What leaves the enclave as one blob: an archive of a folder, written once, in Azure Blob Storage.

One blob, because a right to write can be given for one blob, and not for a folder of a flat account.
Source: REST API of the Blob service, `Put Block` and `Put Block List`.
"""

from __future__ import annotations

import base64
import re
import tarfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from confidential_spark.agent.bounded_http import BoundedHttp, HttpError
from confidential_spark.agent.data.blobs import API_VERSION, LIMITS, SAS
from confidential_spark.agent.data.files import CHUNK_BYTES, incomplete
from confidential_spark.agent.errors import AgentError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

# What the archive's names begin with.
FOLDER = "results"
BLOCK_BYTES = 8 * 1024 * 1024
# 4 GiB, as much as the pipeline unpacks.
MAX_BLOCKS = 512
URL = re.compile(r"https?://[!-~]{1,2000}/[A-Za-z0-9._-]{1,255}")
# Taken by an earlier try whose answer was lost, or by somebody else.
TAKEN = (409, 412)


@dataclass(frozen=True)
class ResultsBlob:
    """A blob that is not there yet.

    :param sas: the right to write it, as an encoded query.
    """

    url: str
    sas: str = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse what no pipeline asks for.

        :raises ValueError: without the SAS.
        :raises TypeError: a member of another type.
        """
        if not URL.fullmatch(self.url) or not self.sas or not SAS.fullmatch(self.sas):
            raise ValueError("no address of a blob, or no SAS, which is not shown")

    def upload(self, folder: Path) -> None:
        """Write a folder of plain files as an archive, block by block; it is there as a whole or not at all.

        :raises AgentError: ``results-not-uploaded``, ``storage-…``: the same run may succeed later.
        """
        account, _, name = self.url.rpartition("/")
        blocks = _Blocks(BoundedHttp(account, LIMITS), f"/{name}?{self.sas}")
        rest = bytearray()
        for piece in _archive(folder):
            rest += piece
            while len(rest) >= BLOCK_BYTES:
                blocks.add(bytes(rest[:BLOCK_BYTES]))
                del rest[:BLOCK_BYTES]
        blocks.add(bytes(rest))
        blocks.commit()


def _archive(folder: Path) -> Iterator[bytes]:
    """Yield a folder of plain files as a tar archive, without owners and times."""
    for path in sorted(folder.rglob("*")):
        entry = tarfile.TarInfo(f"{FOLDER}/{path.relative_to(folder).as_posix()}")
        if path.is_dir():
            entry.type = tarfile.DIRTYPE
            yield entry.tobuf(tarfile.USTAR_FORMAT)
            continue
        entry.size = path.stat().st_size
        yield entry.tobuf(tarfile.USTAR_FORMAT)
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
        yield bytes(-entry.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


class _Blocks:
    """The blocks of a blob that is not there yet."""

    def __init__(self, http: BoundedHttp, path: str) -> None:
        self._http = http
        self._path = path
        self._ids: list[str] = []

    def add(self, block: bytes) -> None:
        if len(self._ids) == MAX_BLOCKS:
            got = f"more than {MAX_BLOCKS * BLOCK_BYTES} bytes"
            raise incomplete("results-not-uploaded", "The results are too large.", got, "fewer")
        # Six characters become eight, none of which an address has to encode.
        self._ids.append(base64.b64encode(b"%06d" % len(self._ids)).decode())
        self._put(f"&comp=block&blockid={self._ids[-1]}", block, {})

    def commit(self) -> None:
        """Make the blob of its blocks, where there is none."""
        listed = "".join(f"<Latest>{block}</Latest>" for block in self._ids)
        content = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{listed}</BlockList>'.encode()
        self._put("&comp=blocklist", content, {"If-None-Match": "*"})

    def _put(self, query: str, content: bytes, further: Mapping[str, str]) -> None:
        headers = {"x-ms-version": API_VERSION, "Content-Type": "application/octet-stream", **further}
        try:
            self._http.call("PUT", self._path + query, content=content, headers=headers)
        except HttpError as error:
            if further and error.status in TAKEN and error.attempt > 1:
                # By the request whose answer did not come.
                return
            raise AgentError(
                f"The results were not uploaded. {error.message}",
                exit_code=ExitCode.SERVICE_UNAVAILABLE if error.retryable else ExitCode.RESULTS_INCOMPLETE,
                code=f"storage-{error.failure}" if error.retryable else "results-not-uploaded",
                got=error.got,
                expected=error.expected,
                action="see docs/runbooks/storage.md",
            ) from error
