"""Storage accounts in memory that answer as the Blob service does; no emulator is needed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.fakes.faulty_service import Fault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from confidential_spark.simulation.service.api import Request

EXISTS = Fault(409, headers={"x-ms-error-code": "BlobAlreadyExists"})


@dataclass
class BlobAccount:
    """Blobs by name, all of one version, for who shows one SAS token: the ``proper`` of a faulty service."""

    content: dict[str, bytes]
    etag: str
    sas: str

    def listed(self) -> list[dict[str, object]]:
        """Return the blobs as a launch file lists them."""
        return [
            {"name": name, "bytes": len(content), "etag": self.etag, "sas": self.sas}
            for name, content in self.content.items()
        ]

    def __call__(self, request: Request, headers: Mapping[str, str]) -> Fault:
        content = self.content.get(unquote(urlsplit(request.target).path).rpartition("/")[2])
        if urlsplit(request.target).query != self.sas:
            return Fault(403, headers={"x-ms-error-code": "AuthenticationFailed"})
        if content is None:
            return Fault(404, headers={"x-ms-error-code": "BlobNotFound"})
        if headers["if-match"] != f'"{self.etag}"':
            return Fault(412, headers={"x-ms-error-code": "ConditionNotMet"})
        start, end = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", headers["range"]).groups())
        part = content[start : end + 1]
        said = f"bytes {start}-{start + len(part) - 1}/{len(content)}"
        return Fault(206, part, {"Content-Range": said})


class UploadAccount:
    """Takes blocks and commits of who shows the signature ``CANARY=``."""

    def __init__(self) -> None:
        self.blocks: dict[str, bytes] = {}
        self.blobs: dict[str, bytes] = {}

    def __call__(self, request: Request, headers: Mapping[str, str]) -> Fault:
        query = {name: values[0] for name, values in parse_qs(urlsplit(request.target).query).items()}
        name = urlsplit(request.target).path
        if request.method != "PUT" or query.get("sig") != "CANARY=":
            return Fault(403, headers={"x-ms-error-code": "AuthenticationFailed"})
        if query["comp"] == "block":
            self.blocks[query["blockid"]] = request.body
            return Fault(201)
        if name in self.blobs and headers["if-none-match"] == "*":
            return EXISTS
        listed = re.findall(r"<Latest>(.*?)</Latest>", request.body.decode())
        self.blobs[name] = b"".join(self.blocks[block] for block in listed)
        return Fault(201)
