"""The list of input files that executors get with the Spark secret: what they may read, byte for byte.

The driver's enclave lists what it hashed while it copied or downloaded. An executor's enclave takes the same
files, from what its own host serves or from the same blobs, to the path that Spark's plan names, and starts
Spark only when all are the same.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from confidential_spark.agent.data.files import read_input
from confidential_spark.agent.data.input_source import MAX_NAME_BYTES, require_name, unusable_input
from confidential_spark.agent.errors import AgentError, ExitCode
from confidential_spark.agent.launch.launch_file import refuse

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from confidential_spark.agent.data.blobs import BlobSource
    from confidential_spark.agent.data.files import InputFile

# The longest list fits into one message of the exchange, however its names are written in JSON.
MAX_FILES = 256
DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ListedFile:
    """One file of the list; ``sha256`` in lower-case hex."""

    name: str
    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        """Refuse what no driver's enclave lists.

        :raises ValueError: naming the file.
        """
        of_types = (type(self.bytes), type(self.sha256)) == (int, str)
        if not of_types or self.bytes < 0 or not DIGEST.fullmatch(self.sha256):
            raise ValueError(f"no size, or no SHA-256 in hex: {self.name!r}")
        require_name(self.name)


def input_list(inputs: Sequence[InputFile]) -> list[dict[str, Any]]:
    """Return the list of what the driver's enclave has copied.

    :raises AgentError: ``input-not-listable``: executors would refuse it.
    """
    try:
        return [asdict(file) for file in _checked([ListedFile(f.name, f.bytes, f.sha256) for f in inputs])]
    except ValueError as error:
        raise unusable_input(
            "input-not-listable",
            "The input cannot be listed for executors.",
            str(error),
            f"at most {MAX_FILES} files with printable names of at most {MAX_NAME_BYTES} bytes",
        ) from error


def parse_input_list(records: Any) -> list[ListedFile]:
    """Read the list in an answer that the driver's enclave signed.

    :raises ValueError: it is no such list.
    :raises TypeError: a record has other members.
    """
    if not isinstance(records, list):
        raise TypeError("the list of input files is no list")
    return _checked([ListedFile(**record) for record in records])


def copy_listed(uri: str | None, listed: Sequence[ListedFile], folder: Path) -> None:
    """Copy exactly the listed files into an empty folder, and compare what was copied.

    :param uri: where this enclave's host serves them.
    :raises AgentError: ``executor-input-differs``, ``input-not-read``, ``input-scheme``, ``launch-invalid``.
    """
    for file in listed:
        if uri is None:
            refuse("input", "none", f"where {file.name} is, which the driver's enclave has read")
        size, sha256 = read_input(uri, file.name, copy_to=folder, at_most=file.bytes)
        _require_same(file, ListedFile(file.name, size, sha256))


def download_listed(source: BlobSource, listed: Sequence[ListedFile], folder: Path) -> None:
    """Download the blobs that the driver's enclave has read into an empty folder, and compare what came.

    :raises AgentError: ``executor-input-differs``, ``storage-…``, ``input-not-read``.
    """
    for file, came in zip(listed, source.download(folder), strict=True):
        _require_same(file, ListedFile(came.name, came.bytes, came.sha256))


def _require_same(file: ListedFile, copied: ListedFile) -> None:
    if copied != file:
        raise AgentError(
            "This executor was served another input than the driver's enclave has read.",
            exit_code=ExitCode.INPUT_CHANGED,
            code="executor-input-differs",
            got=f"{copied.sha256} of {copied.bytes} bytes: {copied.name}",
            expected=f"{file.sha256} of {file.bytes} bytes",
            action="find out who writes to the input between driver and executors",
        )


def _checked(listed: list[ListedFile]) -> list[ListedFile]:
    if len(listed) > MAX_FILES:
        raise ValueError(f"{len(listed)} files, expected at most {MAX_FILES}")
    if len({file.name for file in listed}) < len(listed):
        raise ValueError("a file is listed twice")
    return listed
