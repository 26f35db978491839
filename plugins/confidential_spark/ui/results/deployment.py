"""The published results of this deployment, for routes that depend on them."""

# No postponed annotations here: FastAPI reads them.
from pathlib import Path
from typing import Annotated

from fastapi import Depends

from confidential_spark.hooks.results.location import blob_folder_at, is_folder
from confidential_spark.settings import get_settings
from confidential_spark.ui.results.published import Published, PublishedResults


def published() -> PublishedResults:
    """Return the published results of this deployment, as this request sees them."""
    settings = get_settings()
    if is_folder(settings.results_dir):
        return Published(Path(settings.results_dir))
    # Imported late: Azure's libraries are large, and results in a folder need none of them.
    from confidential_spark.hooks.results.blob_copies import BlobCopies
    from confidential_spark.ui.results.published_blobs import PublishedBlobs

    folder = blob_folder_at(str(settings.results_dir))
    return PublishedBlobs(BlobCopies(folder, settings.cache_dir / "results"))


PublishedDep = Annotated[PublishedResults, Depends(published)]
