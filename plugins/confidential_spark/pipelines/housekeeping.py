"""The task of housekeeping: says what is kept no longer, and removes it when the run is told to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.configuration import conf

from confidential_spark.core.errors import ConfidentialSparkError
from confidential_spark.hooks.housekeeping.stale import Kept, Places, Stale, find_stale, remove_stale
from confidential_spark.operators.base import DONE, STARTED, airflow_failures
from confidential_spark.operators.image import IMAGE_ASSETS
from confidential_spark.settings import get_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context


class HousekeepingOperator(BaseOperator):
    """Look for what is older than it is kept; the Param ``remove`` says whether it goes."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(inlets=list(IMAGE_ASSETS.values()), **kwargs)

    def execute(self, context: Context) -> dict[str, Any]:
        """Log each path, and return how many there are, their bytes, and whether they are removed."""
        self.log.info("%s %s", STARTED, self.task_id)
        remove = bool(context["params"]["remove"])
        with airflow_failures(self.log, context["ti"]):
            settings = get_settings()
            places = Places.of(settings, Path(conf.get("logging", "base_log_folder")))
            kept = Kept.of(settings)
            stale = remove_stale(places, kept) if remove else find_stale(places, kept)
            stale += self.old_images(context, remove=remove)
        for each in stale:
            self.log.info("%s: %s, %d bytes", each.why, each.path, each.bytes)
        found = {"removed": remove, "count": len(stale), "bytes": sum(each.bytes for each in stale)}
        outcome = "removed" if remove else "would remove"
        self.log.info("%s %s: %s %d, %d bytes", DONE, self.task_id, outcome, found["count"], found["bytes"])
        return found

    def old_images(self, context: Context, *, remove: bool) -> list[Stale]:
        """Return old enclave images of the deployment's Docker engine; one that does not answer has none."""
        # Imported late: most deployments have no engine, and its client is large.
        from confidential_spark.platforms.docker.old_images import stale_images

        try:
            return stale_images(published_images(context), remove=remove)
        except ConfidentialSparkError as error:
            self.log.warning("The images of the Docker engine are not looked at: %s", error)
            return []


def published_images(context: Context) -> list[Mapping[str, Any]]:
    """Return the latest published image of each trust level."""
    events = [context["inlet_events"][asset] for asset in IMAGE_ASSETS.values()]
    return [each[-1].extra or {} for each in events if len(each)]
