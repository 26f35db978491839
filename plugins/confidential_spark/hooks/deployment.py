"""Which deployment this is: tells its containers and pods from another's on the same engine or cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confidential_spark.hooks.results.location import results_at

if TYPE_CHECKING:
    from confidential_spark.hooks.results.store import Location


def deployment_id(results_dir: Location) -> str:
    """Return the id of the deployment whose results these are; made when it is first asked for.

    :raises ResultError: what the storage refuses.
    """
    return results_at(results_dir).deployment_id()
