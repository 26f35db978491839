"""Requests to verify a range anew, in Airflow's audit log, where every API server finds them.

They say what was asked and by whom. What was found is for each server to say of its own verification.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.models.log import Log
from sqlalchemy import select

from confidential_spark.core.months import Month

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

EVENT = "verify_published_months_anew"
# A server that is first looked at later than this does not begin for it.
FOLLOWED = timedelta(hours=1)


@dataclass(frozen=True)
class RecheckRequest:
    """A request to verify a range of months anew.

    :param number: of its row; later requests have larger ones.
    """

    number: int
    first: Month
    last: Month
    by: str
    at: datetime


def add_request(session: Session, dag_id: str, first: Month, last: Month, by: str) -> None:
    """Add a request, and commit it: the next page may be another server's."""
    span = json.dumps({"first": str(first), "last": str(last)})
    session.add(Log(EVENT, dag_id=dag_id, owner=by, owner_display_name=by, extra=span))
    session.commit()


def latest_request(session: Session, dag_id: str) -> RecheckRequest | None:
    """Return the latest request of a DAG, while servers still begin for it."""
    chosen = (
        select(Log.id, Log.owner, Log.dttm, Log.extra)
        .where(Log.event == EVENT, Log.dag_id == dag_id, Log.dttm > datetime.now(UTC) - FOLLOWED)
        .order_by(Log.id.desc())
        .limit(1)
    )
    # Of this module's own rows, which have all of these.
    row: Any = session.execute(chosen).first()
    if row is None:
        return None
    number, by, at, extra = row
    span = json.loads(extra)
    return RecheckRequest(number, Month.parse(span["first"]), Month.parse(span["last"]), by, at)
