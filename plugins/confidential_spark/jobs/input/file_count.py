"""How many files a month may have: every one of them stands in what the enclave signs.

The enclave refuses a list that is too long as well, but only when it has read all of them.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from confidential_spark.agent.executors.input_list import MAX_FILES
from confidential_spark.agent.protocol import MAX_STATEMENT_BYTES, canonical_json
from confidential_spark.core.errors import InputError

if TYPE_CHECKING:
    from confidential_spark.jobs.input.manifest import InputManifest

MOST_FILES = 10_000
# As many as a launch file has items, and as fit into it with the longest names and tokens.
MOST_BLOBS = MAX_FILES
REWRITE = "write the month again in fewer files, e.g. spark.read.parquet(old).coalesce(8).write.parquet(new)"
MOST_LIST_BYTES = MAX_STATEMENT_BYTES * 3 // 4
"""The rest of a statement is for results and executors."""


def require_few_files(manifest: InputManifest, *, for_executors: bool) -> None:
    """Refuse a month whose list of files does not fit where it must: the statement, an answer to executors.

    :param for_executors: whether executors of their own get the list.
    :raises InputError: ``input-too-many-files``.
    """
    most, files = MAX_FILES if for_executors else MOST_FILES, len(manifest.files)
    if files > most:
        raise _too_many(f"{files} files", f"at most {most}" + (" on this platform" if for_executors else ""))
    listed = [{**asdict(file), "uri": f"{manifest.uri}/{file.name}"} for file in manifest.files]
    if (size := len(canonical_json(listed))) > MOST_LIST_BYTES:
        raise _too_many(f"{files} files, {size} bytes as a list", f"at most {MOST_LIST_BYTES} bytes")


def require_few_blobs(count: int, uri: str) -> None:
    """Refuse a month of more blobs than a launch file has place for, each with a token of its own.

    :param uri: address of the month's folder.
    :raises InputError: ``input-too-many-files``.
    """
    if count > MOST_BLOBS:
        raise InputError(
            "The month has too many blobs: the enclave gets a token for each of them in one launch file.",
            code="input-too-many-files",
            got=f"{count} blobs in {uri}",
            expected=f"at most {MOST_BLOBS}",
            action=f"{REWRITE}, and let the input name the new folder; `local` and `dcsv3` also take up to "
            f"{MOST_FILES:,} files of a disk (file://…)",
        )


def _too_many(got: str, expected: str) -> InputError:
    return InputError(
        "The month has too many files: each one is listed in what the enclave signs.",
        code="input-too-many-files",
        got=got,
        expected=expected,
        action=REWRITE,
    )
