"""A registry that refuses; engines talk plain HTTP to a loopback address."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def fake_registry(status: int, code: str, *, greeting: int = 200) -> Iterator[str]:
    """Yield the address of a registry that answers every question about an image with one error.

    :param code: of the OCI distribution specification, e.g. ``MANIFEST_UNKNOWN``.
    :param greeting: status of `/v2/`; 401 asks for a password.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(greeting if self.path == "/v2/" else status)

        do_HEAD = do_GET

        def _answer(self, code_: int) -> None:
            errors = [{"code": code, "message": code.lower().replace("_", " ")}]
            body = b"{}" if code_ == 200 else json.dumps({"errors": errors}).encode()
            self.send_response(code_)
            self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            if code_ == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="fake"')
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
