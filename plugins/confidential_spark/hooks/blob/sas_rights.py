"""What a connection's SAS token allows beyond a run: it reaches the enclave, and thereby its host, as it is.

A token of another's signing cannot be narrowed here, and it says itself what it allows.
Source: https://learn.microsoft.com/rest/api/storageservices/create-service-sas and …/create-account-sas
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from collections.abc import Iterator

NEEDED = "rl"
# Letters of `sp`; one that is not here is named by itself.
RIGHTS = {
    "a": "add",
    "c": "create",
    "d": "delete",
    "e": "execute",
    "f": "find by tags",
    "i": "change immutability policies",
    "m": "move",
    "o": "change owners",
    "p": "change permissions",
    "t": "change tags",
    "u": "update",
    "w": "write",
    "x": "delete versions",
    "y": "delete for good",
}
SERVICES = {"q": "queues", "t": "tables", "f": "file shares"}
# Nobody makes a token for each run by hand, and a day is as short as that gets.
SPARE = timedelta(days=1)


def excess_rights(sas: str, ends: datetime) -> list[str]:
    """Return what a SAS token allows and reading a month does not take, in words; never the token.

    :param ends: when the enclave may read last.
    """
    fields = {name: values[0] for name, values in parse_qs(sas).items()}
    if not fields:
        return []
    return [*_rights(fields), *_scope(fields), *_duration(fields, ends)]


def expires_early(sas: str, ends: datetime) -> datetime | None:
    """Return when a SAS token expires if that is before the enclave may read last; else None."""
    expiry = _expiry({name: values[0] for name, values in parse_qs(sas).items()})
    return expiry if expiry and expiry < ends else None


def _rights(fields: dict[str, str]) -> Iterator[str]:
    if "sp" not in fields:
        # Of a stored access policy, which only the account's owner can read.
        yield "whatever its stored access policy allows"
        return
    others = [letter for letter in fields["sp"] if letter not in NEEDED]
    yield from (RIGHTS.get(letter, f"sp={letter!r}") for letter in others)


def _scope(fields: dict[str, str]) -> Iterator[str]:
    if "ss" not in fields:
        return
    yield "all containers of the account"
    yield from (SERVICES[letter] for letter in fields["ss"] if letter in SERVICES)


def _duration(fields: dict[str, str], ends: datetime) -> Iterator[str]:
    expiry = _expiry(fields)
    if expiry is None and "sp" in fields:
        yield "an end that only its stored access policy knows"
    if expiry and expiry > ends + SPARE:
        yield f"until {expiry:%Y-%m-%d}"


def _expiry(fields: dict[str, str]) -> datetime | None:
    try:
        found = datetime.fromisoformat(fields.get("se", ""))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
