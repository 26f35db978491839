"""A published result as one archive: everything that a stranger needs to verify it."""

from __future__ import annotations

import io
import os
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from confidential_spark.core.errors import VerificationError
from confidential_spark.verification.evidence.bundle import Evidence
from confidential_spark.verification.evidence.result_files import COMPANIONS
from confidential_spark.years.statement import read_statement

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    ListedBy = Callable[[bytes], set[str]]

EVIDENCE = "evidence.json"
MAX_ARCHIVE_BYTES = 64 * 1024 * 1024
PLAIN_FILE = 0o100644 << 16


def archive_stem(dag_id: str, key: str) -> str:
    """Return the archive's name without ``.zip``, and its folder's name, e.g. ``nytaxi_local-2018-05``."""
    return re.sub(r"[^A-Za-z0-9_.+-]", "-", f"{dag_id}-{key.partition('=')[2]}")


def archive(folder: Path, stem: str, listed_by: ListedBy | None = None) -> bytes | None:
    """Return the files that the evidence lists, and their companions, as a .zip.

    Names come from the folder's listing; what nothing vouches for is left out.

    :param folder: the published version.
    :param stem: the folder inside the archive.
    :param listed_by: the names that an `evidence.json` lists; None: as one that an enclave has signed.
    :returns: None when a signed file is missing or unreadable, or all exceed :data:`MAX_ARCHIVE_BYTES`.
    """
    listed = plain_files(folder)
    try:
        signed = (listed_by or subjects)(bounded(listed[EVIDENCE], MAX_ARCHIVE_BYTES))
        contents, left = {}, MAX_ARCHIVE_BYTES
        for name in sorted(signed | (COMPANIONS & listed.keys())):
            contents[name] = bounded(listed[name], left)
            left -= len(contents[name])
    except (OSError, KeyError, VerificationError):
        return None
    return stored(contents, stem)


def plain_files(folder: Path) -> dict[str, Path]:
    """Return the plain files below a folder by relative name; links are neither listed nor followed."""
    paths = (Path(place) / name for place, _, names in os.walk(folder) for name in names)
    return {
        path.relative_to(folder).as_posix(): path
        for path in paths
        if path.is_file() and not path.is_symlink()
    }


def subjects(evidence: bytes) -> set[str]:
    """Return the names of the files that a bundle's statement lists; whether they are true is the verifier's.

    :raises VerificationError: the evidence or its statement is malformed.
    """
    return _names(Evidence.parse(evidence).statement.members.members.get("subject"))


def year_subjects(statement: bytes) -> set[str]:
    """Return the names of the files that a year's statement lists; whether they are true is the verifier's.

    :raises VerificationError: it is malformed.
    """
    return _names(read_statement(statement).get("subject"))


def _names(listed: object) -> set[str]:
    items = listed if isinstance(listed, list) else []
    return {item["name"] for item in items if isinstance(item, dict) and isinstance(item.get("name"), str)}


def bounded(path: Path, limit: int) -> bytes:
    """Return a file's content.

    :param limit: bytes.
    :raises OSError: it is unreadable or larger.
    """
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(f"{path} is larger than {limit} bytes")
    return content


def stored(contents: Mapping[str, bytes], stem: str) -> bytes:
    """Return a .zip of these files, uncompressed, in a folder of its own."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        for name, content in contents.items():
            # ZipInfo's fixed date: downloads of one version are equal.
            member = zipfile.ZipInfo(f"{stem}/{name}")
            member.external_attr = PLAIN_FILE
            file.writestr(member, content)
    return buffer.getvalue()
