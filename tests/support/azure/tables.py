"""The tables of a published month by name, on files and in Blob."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from azure.storage.blob import ContainerClient


def tables_in(folder: Path) -> dict[str, bytes]:
    """Return the tables in the folder of a published month."""
    return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}


def tables_in_blob(container: ContainerClient, dag_id: str, month: str) -> dict[str, bytes]:
    """Return all tables of the version that readers see, where results are below `spark/`."""
    marker = json.loads(container.download_blob(f"spark/{dag_id}/month={month}.json").readall())
    folder = f"spark/{dag_id}/.versions/month={month}/{marker['version']}/"
    names = [name for name in container.list_blob_names(name_starts_with=folder) if name.endswith(".parquet")]
    return {name.removeprefix(folder): container.download_blob(name).readall() for name in names}
