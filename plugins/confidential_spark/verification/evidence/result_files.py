"""Result files: safe names, and the digests of what is really there."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from confidential_spark.verification.refusals import Refusal, refuse

if TYPE_CHECKING:
    from collections.abc import Iterator

# Lie beside the results and are not results: written after the statement, or the statement itself.
COMPANIONS = frozenset({"envelope.json", "evidence.json", "report.json"})
MAX_DEPTH = 64
_CHUNK = 1024 * 1024
_SEGMENT = re.compile(r"[^/\\\x00-\x1f\x7f]+")


def require_safe_name(name: str) -> None:
    """Accept a relative POSIX path that stays inside its folder and is not a companion's name.

    :raises VerificationError: ``statement-subject``.
    """
    segments = name.split("/")
    if name in COMPANIONS or not all(
        _SEGMENT.fullmatch(part) and part not in (".", "..") for part in segments
    ):
        refuse(
            Refusal.STATEMENT_SUBJECT,
            "A result file has an unsafe name.",
            got=name,
            expected="a relative path without .., back slashes and empty parts",
        )


def require_digests(expected: Mapping[str, str], results: Mapping[str, bytes] | Path) -> None:
    """Accept results that are exactly the listed files, byte for byte.

    :param expected: name → hex SHA-256, as the verified statement lists them.
    :param results: contents by name, or the folder that holds the files.
    :raises VerificationError: ``result-…``, ``input-type``.
    """
    present = set(results) if isinstance(results, Mapping) else set(_files(results))
    in_place_of_files = {f"{name}/" for name in expected}  # reported as missing files below
    unlisted = sorted(map(str, present - set(expected) - COMPANIONS - in_place_of_files))
    if unlisted:
        refuse(
            Refusal.RESULT_UNLISTED,
            "A file or empty folder lies beside the results that the enclave did not list.",
            got=", ".join(unlisted[:5]),
            expected=f"only listed files and {', '.join(sorted(COMPANIONS))}",
            action="remove the file: nothing vouches for it",
        )
    for name in sorted(expected):
        if name not in present:
            refuse(Refusal.RESULT_MISSING, "A listed result file is absent.", got="nothing", expected=name)
        digest = _digest_of(results, name)
        if digest != expected[name]:
            refuse(
                Refusal.RESULT_DIGEST_MISMATCH,
                f"The file {name} is not the one that the enclave wrote.",
                got=digest,
                expected=expected[name],
            )


def _digest_of(results: Mapping[str, bytes] | Path, name: str) -> str:
    if isinstance(results, Path):
        return _file_digest(results / name)
    content = results[name]
    if not isinstance(content, bytes):
        refuse(
            Refusal.INPUT_TYPE,
            f"The content of {name} is not bytes.",
            got=type(content).__name__,
            expected="bytes",
        )
    return hashlib.sha256(content).hexdigest()


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
                _not_a_file(name)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (OSError, ValueError) as error:
        _unreadable(folder, error)


def _nested(prefix: str) -> str:
    depth = prefix.count("/")
    if depth > MAX_DEPTH:
        refuse(
            Refusal.RESULT_UNLISTED,
            "Folders lie too deep beside the results.",
            got=f"{depth} folders inside each other",
            expected=f"at most {MAX_DEPTH}",
        )
    return prefix


def _file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        # Opened without following a link that was put there since the folder was listed.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                _not_a_file(str(path))
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        _unreadable(path, error)
    return digest.hexdigest()


def _not_a_file(name: str) -> None:
    refuse(
        Refusal.RESULT_NOT_A_FILE,
        "A result is not a plain file.",
        got=name,
        expected="plain files and folders only",
    )


def _unreadable(path: Path, error: Exception) -> NoReturn:
    refuse(
        Refusal.RESULT_UNREADABLE,
        "The results cannot be read.",
        got=f"{path}: {error}",
        expected="readable files",
    )
