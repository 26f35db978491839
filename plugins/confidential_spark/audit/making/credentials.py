"""No bundle hands a credential to an auditor, wherever in a file it stands."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from confidential_spark.core.credentials import credential_in
from confidential_spark.core.errors import ConfidentialSparkError, InputError
from confidential_spark.verification.evidence.bundle import Evidence

if TYPE_CHECKING:
    from collections.abc import Iterator


def require_no_credential(name: str, content: bytes) -> None:
    """Refuse a file in which something looks like a credential; the message never has it.

    :raises InputError: ``audit-credential``.
    """
    for text in _texts(content):
        if kind := credential_in(text):
            raise InputError(
                "A file of the bundle contains what looks like a credential, so no bundle is made.",
                code="audit-credential",
                got=f"{name}: {kind}",
                expected="files without secrets",
                action="renew the credential; then run that month again with an input that names none",
            )


def _texts(content: bytes) -> Iterator[str]:
    """Yield every text of a file: strings of JSON without its escapes, and what a statement has in base64."""
    with suppress(ConfidentialSparkError):
        yield from _strings(json.loads(Evidence.parse(content).statement.payload))
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return
    try:
        yield from _strings(json.loads(text))
    except (ValueError, RecursionError):
        yield text


def _strings(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, list):
            waiting += item
