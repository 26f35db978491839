"""Which revision of this project's sources an image is built from."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from confidential_spark.core.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT_SECONDS = 60
# What an image is made of; a change anywhere else does not make it another one. Not the ledgers beside the
# policies, which grow with each approval.
SOURCES = ("docker", "plugins", "include/jobs", "include/policies/*.yaml")


def source_revision(project: Path) -> str:
    """Return the commit that is checked out, ``-dirty`` when the image's sources differ from it.

    :raises ConfigurationError: ``source-revision-unknown``.
    """
    commit = _git(project, "rev-parse", "HEAD").strip()
    changes = _git(project, "status", "--porcelain", "--", *SOURCES).strip()
    return f"{commit}-dirty" if changes else commit


def _git(project: Path, *arguments: str) -> str:
    try:
        return subprocess.run(
            ["git", "-C", str(project), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        raise ConfigurationError(
            "The revision of the image's sources is not known.",
            code="source-revision-unknown",
            got=str(said).strip(),
            expected="a work tree of git, or CONFIDENTIAL_SPARK_SOURCE_REVISION",
            action="set the variable to the commit that is deployed; the ledger keeps it",
        ) from error
