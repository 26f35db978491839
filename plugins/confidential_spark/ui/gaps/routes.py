"""Routes that fill gaps: a preview, the runs of a filling, and two actions, both by Airflow's own API."""

# No postponed annotations here: FastAPI reads them.
from functools import partial
from typing import Annotated
from urllib.parse import parse_qs, quote

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi import Path as PathParam
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse

from confidential_spark.core.errors import InputError
from confidential_spark.core.months import Month
from confidential_spark.core.stages import fill_run_id
from confidential_spark.operators.outcomes.filling import MAX_MONTHS
from confidential_spark.ui.gaps.airflow_api import AirflowApi, require_own_page
from confidential_spark.ui.gaps.filling import conf_of, filling, fillings, new_fill_id
from confidential_spark.ui.gaps.plan import Order, plan
from confidential_spark.ui.rendering import render
from confidential_spark.ui.results.deployment import PublishedDep
from confidential_spark.ui.room.live import typical_duration
from confidential_spark.ui.room.page import known_of
from confidential_spark.ui.room.routes import MAY_SEE_RUNS, VerifierDep, month_or_none

MAX_FORM_BYTES = 64 * 1024
OWN_PAGE = Depends(require_own_page)
DagId = Annotated[str, PathParam(max_length=250)]
FillId = Annotated[str, PathParam(max_length=40)]
Text = Annotated[str, Query(max_length=40)]
NO_MONTHS = "This DAG has no months, or is none of this project's."


def add_gaps_routes(app: FastAPI) -> None:
    """Add the pages and the actions."""
    page, see = HTMLResponse, MAY_SEE_RUNS
    app.get("/gaps/{dag_id}", response_class=page, dependencies=see)(preview)
    app.post("/gaps/{dag_id}", dependencies=[OWN_PAGE, *see])(start)
    app.get("/gaps/{dag_id}/{fill}", response_class=page, dependencies=see)(progress)
    app.post("/gaps/{dag_id}/{fill}/cancel", dependencies=[OWN_PAGE, *see])(cancel)


def preview(
    dag_id: DagId,
    session: SessionDep,
    user: GetUserDep,
    results: PublishedDep,
    verifier: VerifierDep,
    first: Text = "",
    last: Text = "",
    order: Text = "",
    again: Text = "",
) -> str:
    """Show exactly the months that would run."""
    page = plan(
        session,
        dag_id,
        results,
        verifier,
        first=month_or_none(first),
        last=month_or_none(last),
        order=order_named(order),
        again=again == "on",
    )
    if page is None:
        raise HTTPException(404, NO_MONTHS)
    earlier = fillings(session, dag_id)
    return render(
        "gaps/gaps.html", root="../", page=page, orders=Order, fillings=earlier, may_run=may_run(user, dag_id)
    )


async def start(
    dag_id: DagId, request: Request, session: SessionDep, results: PublishedDep, verifier: VerifierDep
) -> RedirectResponse:
    """Create one run for each month that is asked for and still missing, as the user of the request."""
    form = await read_form(request)
    months = asked_months(form.get("month", []))
    order, again = order_named(form.get("order", [""])[0]), form.get("again") == ["on"]
    if not months:
        raise HTTPException(400, "No month is chosen, so nothing was started.")
    span = {"first": min(months), "last": max(months)}
    asked = partial(plan, session, dag_id, results, verifier, **span, order=order, again=again)
    found = await run_in_threadpool(asked)
    # Airflow's own API writes from here on, and SQLite lets nobody write while somebody reads.
    session.rollback()
    if found is None:
        raise HTTPException(404, NO_MONTHS)
    chosen = [planned.month for planned in found.months if planned.month in months]
    if not chosen:
        raise HTTPException(
            409, "All of these months are published or in work by now, so nothing was started."
        )
    fill = new_fill_id()
    await trigger_all(AirflowApi(request), dag_id, fill, chosen, stop=form.get("stop") == ["on"])
    return RedirectResponse(f"{quote(dag_id, safe='')}/{fill}", status_code=303)


async def trigger_all(api: AirflowApi, dag_id: str, fill: str, months: list[Month], *, stop: bool) -> None:
    """Create the runs in order.

    :raises HTTPException: Airflow's refusal of one of them; the runs before it stay.
    """
    for number, month in enumerate(months):
        conf = conf_of(fill, month, months, stop=stop)
        answer = await api.trigger(dag_id, fill_run_id(fill, str(month)), conf, "fills a gap")
        if not answer.is_done:
            raise HTTPException(
                answer.status if answer.status in (401, 403, 404, 409) else 502,
                f"Airflow did not start {month}: {answer.said}. {number} of {len(months)} runs were created.",
            )


def progress(
    dag_id: DagId,
    fill: FillId,
    session: SessionDep,
    user: GetUserDep,
    results: PublishedDep,
    verifier: VerifierDep,
) -> str:
    """Show how far a filling is."""
    typical = typical_duration(known_of(dag_id, results, verifier).entries.values()) if results else None
    page = filling(session, dag_id, fill, typical)
    if page is None:
        raise HTTPException(404, "Airflow knows no run of such a filling of gaps.")
    return render("gaps/filling.html", root="../../", page=page, may_run=may_run(user, dag_id))


async def cancel(dag_id: DagId, fill: FillId, request: Request, session: SessionDep) -> RedirectResponse:
    """Delete the runs that have not begun; end those at work where that is asked for."""
    form = await read_form(request)
    page = await run_in_threadpool(filling, session, dag_id, fill, None)
    session.rollback()
    if page is None:
        raise HTTPException(404, "Airflow knows no run of such a filling of gaps.")
    api = AirflowApi(request)
    for run in reversed(page.runs):
        answer = None
        if run.state == "queued":
            answer = await api.delete(dag_id, run.run_id)
        elif run.state == "running" and form.get("running") == ["on"]:
            answer = await api.fail(dag_id, run.run_id)
        gone = answer and answer.status == 404 and run.state == "queued"
        if answer and not answer.is_done and not gone:
            status = answer.status if answer.status in (401, 403, 409) else 502
            raise HTTPException(status, f"Airflow did not cancel {run.month}: {answer.said}.")
    begun = any(run.state != "queued" for run in page.runs)
    place = f"../{fill}" if begun else f"../../{quote(dag_id, safe='')}"
    return RedirectResponse(place, status_code=303)


async def read_form(request: Request) -> dict[str, list[str]]:
    """Return the fields of a form.

    :raises HTTPException: 413, 415.
    """
    if request.headers.get("content-type", "").partition(";")[0] != "application/x-www-form-urlencoded":
        raise HTTPException(415, "Expected the fields of a form.")
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > MAX_FORM_BYTES:
            raise HTTPException(413, "The form is too large.")
    return parse_qs(content.decode("ascii", "replace"), max_num_fields=2 * MAX_MONTHS)


def asked_months(names: list[str]) -> set[Month]:
    """Return the months of a form.

    :raises HTTPException: 400 for one that is malformed, and for too many.
    """
    try:
        months = {Month.parse(name) for name in names}
    except InputError as error:
        raise HTTPException(400, f"{error.message} Nothing was started.") from error
    if len(months) > MAX_MONTHS:
        raise HTTPException(400, f"At most {MAX_MONTHS} months at once. Nothing was started.")
    return months


def order_named(name: str) -> Order:
    """Return the order of that name; anything else is the newest first."""
    return Order.OLDEST if name == Order.OLDEST else Order.NEWEST


def may_run(user: GetUserDep, dag_id: str) -> bool:
    """Whether Airflow would let the user trigger the DAG; when it is asked to, it decides again."""
    manager = get_auth_manager()
    details = DagDetails(id=dag_id)
    run = DagAccessEntity.RUN
    return manager.is_authorized_dag(method="POST", access_entity=run, details=details, user=user)
