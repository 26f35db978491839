"""This machine's own addresses: the only ones that are reached without TLS, and never through a proxy."""

from urllib.parse import urlsplit

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})


def is_loopback(url: str) -> bool:
    """Return whether ``url`` names this machine by a loopback address.

    :raises ValueError: it is no URL.
    """
    return urlsplit(url).hostname in LOOPBACK_HOSTS
