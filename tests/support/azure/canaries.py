"""Signatures and keys of a storage account, searched for in what a run leaves."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

SIGNATURE = re.compile(r"\bsig=([\w%+/=-]{20,})")


def signatures(text: str) -> set[str]:
    """Return the signatures of all SAS tokens in a text."""
    return {unquote(found) for found in SIGNATURE.findall(text)}


def forms(secrets: Iterable[str]) -> set[str]:
    """Return secrets as they are, and as they stand in an address."""
    return {form for each in secrets for form in (each, unquote(each), quote(unquote(each), safe=""))}


def places_with(secrets: Iterable[str], *folders: Path) -> list[Path]:
    """Return the files that have one of the secrets in them."""
    wanted = [form.encode() for form in forms(secrets)]
    return [path for path in _files(folders) if any(form in path.read_bytes() for form in wanted)]


def texts_with(secrets: Iterable[str], texts: dict[str, str]) -> list[str]:
    """Return the names of the texts that have one of the secrets in them."""
    wanted = forms(secrets)
    return [name for name, text in texts.items() if any(form in text for form in wanted)]


def _files(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                yield path
