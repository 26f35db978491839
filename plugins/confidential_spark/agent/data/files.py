"""Files the enclave reads and writes: hashed inputs, listed results, atomic writes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from confidential_spark.agent.data.input_source import input_names, input_uri, open_input, unusable_input
from confidential_spark.agent.errors import AgentError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

CHUNK_BYTES = 1024 * 1024
MAX_SUMMARY_BYTES = 4 * 1024 * 1024
ENVELOPE = "envelope.json"
SUMMARY = "summary.json"


@dataclass(frozen=True)
class InputFile:
    """One file the job may read; ``sha256`` in lower-case hex."""

    uri: str
    bytes: int
    sha256: str

    @property
    def name(self) -> str:
        """The file's name; with characters that are not printable where it is not UTF-8."""
        return unquote(self.uri.rpartition("/")[2], errors="surrogateescape")


def input_files(uri: str, copy_to: Path | None = None) -> list[InputFile]:
    """Hash the input's Parquet files, in the order of their names.

    :param copy_to: an empty folder that gets exactly the bytes that were hashed.
    :raises AgentError: as :func:`.input_source.input_names`; ``input-not-read``.
    """
    return [
        InputFile(input_uri(uri, name), *read_input(uri, name, copy_to=copy_to)) for name in input_names(uri)
    ]


def read_input(uri: str, name: str, *, copy_to: Path | None, at_most: int | None = None) -> tuple[int, str]:
    """Return size and SHA-256 (hex) of one of the input's files, whose bytes are read once.

    :param copy_to: a folder that gets exactly the bytes that were hashed.
    :param at_most: bytes after which a longer file is not read on.
    :raises AgentError: ``input-not-read``.
    """
    digest, size = hashlib.sha256(), 0
    try:
        with (
            open_input(uri, name) as source,
            (copy_to / name).open("xb") if copy_to else nullcontext() as copy,
        ):
            while (chunk := source.read(CHUNK_BYTES)) and (at_most is None or size <= at_most):
                digest.update(chunk)
                size += len(chunk)
                if copy:
                    copy.write(chunk)
    except OSError as error:
        raise not_read(name, error) from error
    return size, digest.hexdigest()


def not_read(name: str, error: OSError) -> AgentError:
    """Return the error for an input file that cannot be read, or for which there is no room."""
    return unusable_input(
        "input-not-read",
        "The input cannot be read or copied.",
        f"{error.strerror}: {name}",
        "readable files, and room for them",
    )


def require_unchanged(before: list[InputFile], after: list[InputFile]) -> None:
    """Refuse a run whose input was another at its end than at its start.

    :raises AgentError: ``input-changed``.
    """
    if before != after:
        names = sorted({file.name for file in set(before) ^ set(after)})
        raise AgentError(
            "The input changed while the job was reading it.",
            exit_code=ExitCode.INPUT_CHANGED,
            code="input-changed",
            got=f"changed: {names[:5]}",
            expected="the same files with the same SHA-256 before and after",
            action="run again when nobody writes to the input folder",
        )


def result_digests(results_dir: Path) -> dict[str, str]:
    """Return every result file's relative name and hex SHA-256.

    :raises AgentError: ``results-foreign-file`` for anything that is not a regular file.
    """
    digests = {}
    for path in sorted(results_dir.rglob("*")):
        name = path.relative_to(results_dir).as_posix()
        mode = path.lstat().st_mode
        if name == ENVELOPE:
            raise incomplete(
                "results-foreign-file", "The job wrote the envelope's file.", name, "other names"
            )
        if stat.S_ISREG(mode):
            digests[name] = _size_and_digest(path)[1]
        elif not stat.S_ISDIR(mode):
            raise incomplete("results-foreign-file", "The job left something that is no file.", name, "files")
    return digests


def copy_results(private_dir: Path, names: Iterable[str], results_dir: Path) -> None:
    """Copy signed results out to the host, whose folder holds nothing of these names yet.

    :raises AgentError: ``results-not-copied``.
    """
    try:
        for name in names:
            (results_dir / name).parent.mkdir(parents=True, exist_ok=True)
            with (private_dir / name).open("rb") as source, (results_dir / name).open("xb") as target:
                shutil.copyfileobj(source, target)
    except OSError as error:
        raise AgentError(
            "The results cannot be copied out of the enclave.",
            exit_code=ExitCode.RESULTS_INCOMPLETE,
            code="results-not-copied",
            got=error.strerror,
            expected=f"an empty folder with room for them: {results_dir}",
            action="make room, or correct results_dir",
        ) from error


def summary_rows(results_dir: Path, job: str) -> dict[str, int]:
    """Return the row counts that the job states in its summary.

    :raises AgentError: ``summary-missing`` or ``summary-malformed``.
    """
    path = results_dir / SUMMARY
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_SUMMARY_BYTES + 1)
    except OSError as error:
        raise incomplete("summary-missing", "The job left no summary.", error.strerror, SUMMARY) from error
    try:
        document = json.loads(raw)
        rows = {name: document["rows"][name] for name in ("input", "accepted", "rejected")}
        valid = document["job"] == job and all(type(n) is int and n >= 0 for n in rows.values())
    except (ValueError, KeyError, TypeError, RecursionError):
        valid = False
    if not valid or len(raw) > MAX_SUMMARY_BYTES or rows["accepted"] + rows["rejected"] != rows["input"]:
        expected = f'{{"job": "{job}", "rows": {{"input", "accepted", "rejected"}}}}'
        raise incomplete(
            "summary-malformed", "The job's summary is not usable.", f"{len(raw)} bytes", expected
        )
    return rows


def sha256_of(path: Path) -> str:
    """Return a file's hex SHA-256.

    :raises AgentError: ``job-unreadable``.
    """
    try:
        return _size_and_digest(path)[1]
    except OSError as error:
        raise AgentError(
            "The job file cannot be read.",
            code="job-unreadable",
            got=error.strerror,
            expected="the file named by job_file",
            action="correct job_file",
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file that is there completely or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("x", encoding="utf-8") as file:
            json.dump(value, file, ensure_ascii=False, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def as_records(files: list[InputFile]) -> list[dict[str, Any]]:
    """Return the files as the statement lists them."""
    return [asdict(file) for file in files]


def incomplete(code: str, message: str, got: object, expected: str) -> AgentError:
    """Return the error for results that must not be signed."""
    return AgentError(
        message,
        exit_code=ExitCode.RESULTS_INCOMPLETE,
        code=code,
        got=got,
        expected=expected,
        action="read the job's own messages above",
    )


def _size_and_digest(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest
