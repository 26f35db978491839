"""Asking the API server whether it is ready."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def is_api_ready(port: int, certificates: Path) -> bool:
    """Return whether the API server on 127.0.0.1 says that it is ready; it needs no credentials for that.

    :param certificates: folder with ``ca.crt``.
    """
    try:
        trusted = ssl.create_default_context(cafile=str(certificates / "ca.crt"))
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusted)
        )
        with opener.open(f"https://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
