"""Routes of the control room, its trends and its comparisons."""

# No postponed annotations here: FastAPI reads them.
from typing import Annotated

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from fastapi import Depends, FastAPI, HTTPException, Query
from fastapi import Path as PathParam
from fastapi.responses import HTMLResponse, RedirectResponse

from confidential_spark.agent.protocol import TRUST_SIMULATED
from confidential_spark.core.errors import InputError
from confidential_spark.core.months import Month
from confidential_spark.ui.airflow_runs import JOB_OF, MONTHLY, PLATFORMS
from confidential_spark.ui.rendering import render
from confidential_spark.ui.results.deployment import PublishedDep
from confidential_spark.ui.results.years.line import YearState
from confidential_spark.ui.room.compare import comparison
from confidential_spark.ui.room.matrix import Shade
from confidential_spark.ui.room.page import known_of, room_page
from confidential_spark.ui.room.trends import trends
from confidential_spark.ui.room.verifier import VERIFIER, Verifier
from confidential_spark.ui.views.calendar_view import CellState

Name = Annotated[str, Query(max_length=600)]
DagId = Annotated[str, PathParam(max_length=250)]
SEEN = (DagAccessEntity.RUN, DagAccessEntity.TASK_INSTANCE, DagAccessEntity.XCOM)
MAY_SEE_RUNS = [Depends(requires_access_dag("GET", entity)) for entity in SEEN]


def verifier() -> Verifier:
    """Return what verifies beside the requests."""
    return VERIFIER


VerifierDep = Annotated[Verifier, Depends(verifier)]


def add_room_routes(app: FastAPI) -> None:
    """Add the pages."""
    app.get("/room", response_class=HTMLResponse)(room)
    app.get("/range")(range_page)
    app.get("/trends/{dag_id}", response_class=HTMLResponse, dependencies=MAY_SEE_RUNS)(trends_page)
    app.get("/compare", response_class=HTMLResponse)(compare_page)


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
    return render("room/room.html", root="", page=page, states=CellState, year_states=YearState, shades=Shade)


def range_page(
    dag_id: Name = "",
    first: Name = "",
    last: Name = "",
    action: Name = "",
) -> RedirectResponse:
    """Lead from two months of the matrix to what is done with the range; the page there asks for rights."""
    begin, end = month_or_none(first), month_or_none(last)
    if dag_id not in MONTHLY or begin is None or end is None:
        raise HTTPException(404, "A range is two months of a DAG of this project.")
    begin, end = min(begin, end), max(begin, end)
    page = "audit" if action == "audit" else "gaps"
    return RedirectResponse(f"{page}/{dag_id}?first={begin}&last={end}", status_code=303)


def trends_page(dag_id: DagId, results: PublishedDep, verifier: VerifierDep) -> str:
    """Show the figures of all months as lines."""
    if dag_id not in JOB_OF:
        raise HTTPException(404, "There is no DAG of this project of that name.")
    known = known_of(dag_id, results, verifier).results
    simulated = PLATFORMS[dag_id].trust == TRUST_SIMULATED
    charts = trends(JOB_OF[dag_id], dag_id, known)
    return render("room/trends.html", root="../", dag_id=dag_id, charts=charts, simulated=simulated)


def compare_page(user: GetUserDep, results: PublishedDep, left: Name = "", right: Name = "") -> str:
    """Show two results side by side."""
    manager = get_auth_manager()
    visible = manager.get_authorized_dag_ids(user=user, method="GET")
    page = comparison(results, visible, left, right)
    if page is None:
        raise HTTPException(404, "One of the two is not published, or you may not see it.")
    for dag_id in {page.left.dag_id, page.right.dag_id}:
        require_sight(user, dag_id)
    return render("room/compare.html", root="", page=page)


def require_sight(user: GetUserDep, dag_id: str) -> None:
    """Refuse a user who may see the DAG and not what its runs have found.

    :raises HTTPException: 403.
    """
    details, manager = DagDetails(id=dag_id), get_auth_manager()
    for entity in SEEN:
        if not manager.is_authorized_dag(method="GET", access_entity=entity, details=details, user=user):
            raise HTTPException(403, "You may not see the runs of one of the two.")


def month_or_none(text: str) -> Month | None:
    """Return a month of an address; anything else is none."""
    try:
        return Month.parse(text)
    except InputError:
        return None
