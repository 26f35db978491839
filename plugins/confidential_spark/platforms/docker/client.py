"""The client of a Docker engine; imported only where an engine is asked, for docker-py is large."""

from __future__ import annotations

from typing import Any

from docker.api import APIClient

CONNECT_SECONDS = 30


class EngineClient(APIClient):
    """Waits less long for a connection and its TLS handshake than for an answer."""

    def _set_request_timeout(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        kwargs = super()._set_request_timeout(kwargs)
        if not isinstance(kwargs["timeout"], tuple):
            kwargs["timeout"] = (CONNECT_SECONDS, kwargs["timeout"])
        return kwargs
