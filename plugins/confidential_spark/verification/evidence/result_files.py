"""Result files: safe names, and the digests of what is really there."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Collection, Mapping
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NoReturn
from unicodedata import normalize

from confidential_spark.verification.json_object import JsonObject
from confidential_spark.verification.refusals import Refusal, refuse
from confidential_spark.verification.safe_files import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator

# May lie beside the results without being listed; they are compared with what the evidence says.
COMPANIONS = frozenset({"envelope.json", "evidence.json", "report.json"})
Companions = Mapping[str, Callable[[JsonObject], None]]
MAX_DEPTH = 64
MAX_JSON_BYTES = 8 * 1024 * 1024
_CHUNK = 1024 * 1024
# Controls, and marks of direction or without width: they show another text than the one that is compared.
_HIDDEN = r"\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
PLAIN_TEXT = rf"[^{_HIDDEN}]+"
_SEGMENT = re.compile(rf"[^/\\{_HIDDEN}]+")


def require_safe_name(name: str) -> None:
    """Accept a relative POSIX path that stays inside its folder and is not a companion's name.

    :raises VerificationError: ``statement-subject``.
    """
    parts = name.split("/")
    plain = all(_SEGMENT.fullmatch(part) and part not in (".", "..") for part in parts)
    if not plain or _folded(name) in COMPANIONS:
        expected = "a relative path of visible characters, without .., back slashes and empty parts"
        refuse(Refusal.STATEMENT_SUBJECT, "A result file has an unsafe name.", got=name, expected=expected)


def require_distinct(names: Collection[str]) -> None:
    """Accept names that stay different files wherever they are stored.

    :raises VerificationError: ``statement-subject``: two differ only by case or normal form, or one is the
        folder of another.
    """
    taken: dict[str, str] = {}
    for name in names:
        if (other := taken.setdefault(_folded(name), name)) != name:
            _collide(name, other)
    for name in names:
        for folder in PurePosixPath(_folded(name)).parents:
            if str(folder) in taken:
                _collide(name, taken[str(folder)])


def require_digests(
    expected: Mapping[str, str],
    results: Mapping[str, bytes] | Path,
    companions: Companions | None = None,
) -> None:
    """Accept results that are exactly the listed files, byte for byte.

    :param expected: name → hex SHA-256, as the verified statement lists them.
    :param results: contents by name, or the folder that holds the files.
    :param companions: the rule for each of :data:`COMPANIONS`; without rules they are not looked at.
    :raises VerificationError: ``result-…``, ``companion-mismatch``, ``input-type``.
    """
    present = set(results) if isinstance(results, Mapping) else set(_files(results))
    in_place_of_files = {f"{name}/" for name in expected}  # reported as missing files below
    unlisted = sorted(map(str, present - set(expected) - COMPANIONS - in_place_of_files))
    if unlisted:
        allowed, action = ", ".join(sorted(COMPANIONS)), "remove the file: nothing vouches for it"
        got, known = ", ".join(unlisted[:5]), f"only listed files and {allowed}"
        refuse(Refusal.RESULT_UNLISTED, got=got, expected=known, action=action)
    for name in sorted(expected):
        if name not in present:
            refuse(Refusal.RESULT_MISSING, got="nothing", expected=name)
        digest = hashlib.sha256()
        for piece in _content(results, name):
            digest.update(piece)
        if digest.hexdigest() != expected[name]:
            message = f"The file {name} is not the one that the enclave wrote."
            got, listed = digest.hexdigest(), expected[name]
            refuse(Refusal.RESULT_DIGEST_MISMATCH, message, got=got, expected=listed)
    for name, require in (companions or {}).items():
        if name in present:
            require(read_json(results, name))


def read_json(results: Mapping[str, bytes] | Path, name: str) -> JsonObject:
    """Return a file's JSON object.

    :raises VerificationError: ``companion-mismatch``, ``input-…``, ``result-unreadable``.
    """
    data = b"".join(islice(_content(results, name), MAX_JSON_BYTES // _CHUNK + 1))
    return JsonObject.parse(data, name, MAX_JSON_BYTES, Refusal.COMPANION_MISMATCH)


def _content(results: Mapping[str, bytes] | Path, name: str) -> Iterator[bytes]:
    if isinstance(results, Mapping):
        if not isinstance(results[name], bytes):
            message, got = f"The content of {name} is not bytes.", type(results[name]).__name__
            refuse(Refusal.INPUT_TYPE, message, got=got, expected="bytes")
        yield results[name]
        return
    try:
        # Without following a link that was put there since the folder was listed.
        with open_regular(results / name, follow_links=False) as file:
            while piece := file.read(_CHUNK):
                yield piece
    except OSError as error:
        _unreadable(results / name, error)


def _files(folder: Path) -> Iterator[str]:
    """Yield the names of all files, and of empty folders with a slash at the end."""
    waiting = [(folder, "")]
    while waiting:
        path, prefix = waiting.pop()
        entries = _entries(path)
        if prefix and not entries:
            yield prefix
        for entry in entries:
            name = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                waiting.append((Path(entry.path), _nested(f"{name}/")))
            elif entry.is_file(follow_symlinks=False):
                yield name
            else:
                refuse(Refusal.RESULT_NOT_A_FILE, got=name, expected="plain files and folders only")


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (OSError, ValueError) as error:
        _unreadable(folder, error)


def _nested(prefix: str) -> str:
    depth = prefix.count("/")
    if depth > MAX_DEPTH:
        message, got = "Folders lie too deep beside the results.", f"{depth} folders inside each other"
        refuse(Refusal.RESULT_UNLISTED, message, got=got, expected=f"at most {MAX_DEPTH}")
    return prefix


def _folded(name: str) -> str:
    return normalize("NFC", normalize("NFC", name).casefold())


def _collide(name: str, other: str) -> NoReturn:
    message = "Two result files are one in some file systems, or one is the other's folder."
    refuse(Refusal.STATEMENT_SUBJECT, message, got=f"{other!a} and {name!a}", expected="distinct names")


def _unreadable(path: Path, error: Exception) -> NoReturn:
    got, expected = f"{path}: {error}", "readable files"
    refuse(Refusal.RESULT_UNREADABLE, got=got, expected=expected)
