"""Lock files: which SHA-256 digests a downloaded or installed file may have."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from confidential_spark.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

_REQUIREMENT = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}==[^\s;]{1,64}", re.MULTILINE)
_HASH_OPTION = re.compile(r"--hash=sha256:([0-9a-f]{64})(?=\s|\\|$)")
_SUM = re.compile(r"(?P<sha256>[0-9a-f]{64}) [ *](?P<name>[A-Za-z0-9][A-Za-z0-9._+~-]{0,254})")


def requirement_hashes(text: str) -> frozenset[str]:
    """Return every digest in a hashed `requirements.txt`.

    :raises ConfigurationError: ``lock-file-malformed``: a requirement without version or digest.
    """
    requirements = [line for line in text.replace("\\\n", " ").splitlines() if _is_content(line)]
    for line in requirements:
        if not _REQUIREMENT.match(line) or not _HASH_OPTION.search(line):
            raise _malformed(line, "name==version --hash=sha256:…")
    return frozenset(_HASH_OPTION.findall(text))


def file_hashes(text: str) -> Mapping[str, str]:
    """Return digest by file name from what `sha256sum` writes.

    :raises ConfigurationError: ``lock-file-malformed``: another line, or a name twice.
    """
    hashes: dict[str, str] = {}
    for line in filter(_is_content, text.splitlines()):
        match = _SUM.fullmatch(line)
        if match is None or match["name"] in hashes:
            raise _malformed(line, "digest, two spaces, a file name of its own")
        hashes[PurePosixPath(match["name"]).name] = match["sha256"]
    return hashes


def _is_content(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _malformed(line: str, expected: str) -> ConfigurationError:
    return ConfigurationError(
        "A lock file of the image is malformed.",
        code="lock-file-malformed",
        got=line,
        expected=expected,
        action="compile it again with `make lock`",
    )
