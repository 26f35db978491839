"""Routes of the control room, its trends and its comparisons."""

# No postponed annotations here: FastAPI reads them.
from typing import Annotated

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import Depends, FastAPI, HTTPException, Query
from fastapi.responses import HTMLResponse

from confidential_spark.core.errors import InputError
from confidential_spark.core.months import Month
from confidential_spark.ui.rendering import render
from confidential_spark.ui.results.deployment import PublishedDep
from confidential_spark.ui.room.matrix import Shade
from confidential_spark.ui.room.page import room_page
from confidential_spark.ui.room.verifier import VERIFIER, Verifier
from confidential_spark.ui.views.calendar_view import CellState

Name = Annotated[str, Query(max_length=250)]


def verifier() -> Verifier:
    """Return what verifies beside the requests."""
    return VERIFIER


VerifierDep = Annotated[Verifier, Depends(verifier)]


def add_room_routes(app: FastAPI) -> None:
    """Add the pages."""
    app.get("/room", response_class=HTMLResponse)(room)


def room(
    session: SessionDep,
    user: GetUserDep,
    results: PublishedDep,
    verifier: VerifierDep,
    dag_id: Name = "",
    shade: Name = "",
    first: Name = "",
) -> str:
    """Show what needs somebody, every month of a DAG, what runs now, and what is proven."""
    visible = get_auth_manager().get_authorized_dag_ids(user=user, method="GET")
    page = room_page(
        session, visible, results, verifier, dag_id=dag_id, shade=shade, first=month_or_none(first)
    )
    if page is None:
        raise HTTPException(404, "There is no DAG of this project of that name that you may see.")
    return render("room.html", root="", page=page, states=CellState, shades=Shade)


def month_or_none(text: str) -> Month | None:
    """Return a month of an address; anything else is none."""
    try:
        return Month.parse(text)
    except InputError:
        return None
