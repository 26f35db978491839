"""Which deployment this is: tells its containers and pods from another's on the same engine or cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from confidential_spark.hooks.durable_files import create_once, storage_errors

if TYPE_CHECKING:
    from pathlib import Path

FILE = ".deployment"


def deployment_id(results_dir: Path) -> str:
    """Return the id of the deployment whose results these are; made when it is first asked for.

    :raises ResultError: ``results-unwritable``, ``disk-full``.
    """
    path = results_dir / FILE
    with storage_errors("name the deployment"):
        results_dir.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            create_once(path, uuid4().hex)
        return path.read_text(encoding="utf-8").strip()
