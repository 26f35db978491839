"""A container registry in memory: as much of the distribution API as an engine's push and pull need.

Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from __future__ import annotations

import base64
import hashlib
import re
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

USER, PASSWORD = "robot", "hush-hush"
UNKNOWN = b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}'
CREDENTIALS = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


class Registry(ThreadingHTTPServer):
    """The server and what was pushed to it: blobs and manifests by digest, manifests by tag too."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content: dict[str, tuple[str, bytes]] = {}
        self.uploads: dict[str, bytes] = {}

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """One request; every path is ``/v2/<name>/(blobs|manifests)/<reference>`` or an upload of a blob."""

    protocol_version = "HTTP/1.1"
    server: Registry

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            return b"".join(iter(self.chunk, b""))
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def chunk(self) -> bytes:
        data = self.rfile.read(int(self.rfile.readline(), 16))
        self.rfile.readline()
        return data

    def dispatch(self) -> None:
        body = self.body()
        if self.headers.get("Authorization") != CREDENTIALS:
            return self.answer(401, WWW_Authenticate='Basic realm="fake"')
        path = self.path.partition("?")[0]
        if path == "/v2/":
            return self.answer(200)
        if "/blobs/uploads/" in path:
            return self.upload(path, body)
        reference = path.rpartition("/")[2]
        if self.command == "PUT":
            return self.keep(reference, self.headers["Content-Type"], body)
        if reference not in self.server.content:
            return self.answer(404, UNKNOWN, Content_Type="application/json")
        kind, content = self.server.content[reference]
        return self.answer(200, content, Content_Type=kind, Docker_Content_Digest=digest_of(content))

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = dispatch

    def upload(self, path: str, body: bytes) -> None:
        if self.command == "POST":
            path += str(len(self.server.uploads))
            self.server.uploads[path] = b""
        self.server.uploads[path] += body
        if self.command == "PUT":
            return self.keep(None, "application/octet-stream", self.server.uploads[path])
        size = len(self.server.uploads[path])
        return self.answer(202, Location=path, Range=f"0-{max(size - 1, 0)}", Docker_Upload_UUID="1")

    def keep(self, reference: str | None, kind: str, content: bytes) -> None:
        digest = digest_of(content)
        for name in {digest, reference or digest}:
            self.server.content[name] = (kind, content)
        place = re.sub(r"/[^/]*$", f"/{digest}", self.path)
        return self.answer(201, Location=place, Docker_Content_Digest=digest)


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@contextmanager
def running_registry() -> Iterator[Registry]:
    """Serve on loopback while the block runs."""
    with Registry() as registry:
        Thread(target=registry.serve_forever, daemon=True).start()
        try:
            yield registry
        finally:
            registry.shutdown()
