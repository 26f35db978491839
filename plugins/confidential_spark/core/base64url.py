"""Base64 without second spellings: each byte string has exactly one accepted text (RFC 4648 §3.5, §4, §5)."""

from __future__ import annotations

import base64
import binascii
import re

from confidential_spark.agent.protocol import b64url

_URL_SAFE = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)


def decode(text: str) -> bytes:
    """Decode unpadded base64url.

    :raises ValueError: for padding, white space, other characters or non-zero trailing bits.
    """
    if _URL_SAFE.fullmatch(text) is None:
        raise ValueError("not base64url: a character outside A–Z a–z 0–9 - _")
    if len(text) % 4 == 1:
        raise ValueError("not base64url: impossible length")
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if b64url(data) != text:
        raise ValueError("not canonical base64url: the unused last bits are not zero")
    return data


def decode_standard(text: str) -> bytes:
    """Decode padded standard base64 (as in x5c and DSSE).

    :raises ValueError: for missing padding, white space, other characters or non-zero trailing bits.
    """
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError("not base64") from error
    if base64.b64encode(data).decode("ascii") != text:
        raise ValueError("not canonical base64: padding or the unused last bits are wrong")
    return data
