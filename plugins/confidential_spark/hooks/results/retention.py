"""What results are kept for how long; `docs/results.md` has the table for people.

Every run sweeps at its end, and housekeeping may at any time: what is swept is in nobody's use.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from confidential_spark.hooks.results.store import GRACE


@dataclass(frozen=True)
class Retention:
    """How long is kept what no reader needs.

    :param replaced: versions of a month after they are replaced.
    :param tries: unpublished tries that nobody touched. Days: a run may wait that long for a worker.
    :param refused: tries that the enclave signed and that were not published.
    :param seen: used nonces and token ids. A token is accepted for hours, so its record is needed no longer.
    """

    replaced: timedelta = GRACE
    tries: timedelta = timedelta(days=7)
    refused: timedelta = timedelta(days=90)
    seen: timedelta = timedelta(days=90)
