"""What OpenLineage is told of inputs and outputs, where its provider is installed.

The provider calls the operators' methods when a task has ended well; without it nothing here is called, and
nothing of OpenLineage is imported. Addresses have no credentials in them; no row and no figure is told.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from airflow.providers.openlineage.extractors import OperatorLineage

BLOB_HOST = ".blob.core.windows.net"
SOURCE = "confidential-spark"


class ReadsInput:
    """Of a task that runs a job over a month's input.

    :ivar manifest: what `resolve_input` returned, or None for jobs without input.
    """

    manifest: Any

    def get_openlineage_facets_on_complete(self, task_instance: object) -> OperatorLineage:
        """Return the input's location; what the task leaves is no data set before it is published."""
        return lineage(inputs=[self.manifest["uri"]] if self.manifest else [])


def lineage(
    inputs: Iterable[str] = (), output: str = "", version: str = "", tags: Mapping[str, object] | None = None
) -> OperatorLineage:
    """Return what a task has read and published.

    :param inputs: locations; the same one counts once.
    :param output: where the result is, by its key.
    :param version: of the output.
    :param tags: what its evidence proves, by name; None is left out.
    """
    # Imported late: they are there only where the provider is.
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import InputDataset, OutputDataset
    from openlineage.client.facet_v2 import dataset_version_dataset, tags_run

    read = [InputDataset(*dataset_name(uri)) for uri in dict.fromkeys(inputs)]
    facets: dict[str, Any] = (
        {"version": dataset_version_dataset.DatasetVersionDatasetFacet(version)} if version else {}
    )
    written = [OutputDataset(*dataset_name(output), facets=facets)] if output else []
    told = [
        tags_run.TagsRunFacetFields(key=name, value=str(value), source=SOURCE)
        for name, value in (tags or {}).items()
        if value is not None
    ]
    run_facets = {"tags": tags_run.TagsRunFacet(told)} if told else {}
    return OperatorLineage(inputs=read, outputs=written, run_facets=run_facets)


def dataset_name(location: str) -> tuple[str, str]:
    """Return namespace and name of a location, as OpenLineage's naming conventions write them."""
    if "://" not in location:
        return "file", location.rstrip("/") or "/"
    parts = urlsplit(location)
    path = parts.path.strip("/")
    if parts.scheme == "file":
        return "file", f"/{path}"
    container, _, below = path.partition("/")
    if parts.scheme == "https" and (parts.hostname or "").endswith(BLOB_HOST) and below:
        return f"wasbs://{container}@{parts.hostname}", below
    return f"{parts.scheme}://{parts.netloc}", path


def folders_of(inputs: Sequence[Mapping[str, Any]] | None) -> list[str]:
    """Return the folders of the files that a statement lists as its inputs."""
    folders = {}
    for each in inputs or ():
        scheme, separator, path = str(each["uri"]).rpartition("://")
        folders[f"{scheme}{separator}{PurePosixPath(path).parent}"] = True
    return list(folders)
