"""Routes of the measurements: ledgers, one decision, and its answer by Airflow's own API."""

# No postponed annotations here: FastAPI reads them.
from typing import Annotated
from urllib.parse import quote

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi import Path as PathParam
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy.orm import Session

from confidential_spark.image_build.approval import REBUILT, is_named, is_requester
from confidential_spark.image_build.settings import ImageSettings
from confidential_spark.ui.gaps.airflow_api import AirflowApi
from confidential_spark.ui.gaps.routes import OWN_PAGE, read_form
from confidential_spark.ui.measurements.airflow_rows import open_questions, question_of
from confidential_spark.ui.measurements.decision import Decision, decision
from confidential_spark.ui.measurements.ledgers import ledgers
from confidential_spark.ui.measurements.uses import uses
from confidential_spark.ui.rendering import render
from confidential_spark.ui.room.needs import APPROVAL_TASK, IMAGE_DAG
from confidential_spark.ui.room.routes import SEEN

RunId = Annotated[str, PathParam(max_length=250)]
ENTITIES = (*SEEN, DagAccessEntity.HITL_DETAIL)
MAY_SEE = [Depends(requires_access_dag("GET", entity, IMAGE_DAG)) for entity in ENTITIES]
APPROVE, REJECT = "Approve", "Reject"
NO_QUESTION = "Nobody was asked about an image in a run of that name."
UNKNOWN_REQUESTER = (
    "Nobody knows which person requested this image, so nobody can be the second one. Reject it, and trigger "
    f"{IMAGE_DAG} on Airflow's page with an account that {ImageSettings.variable('requesters')} names."
)
OWN_REQUEST = "Whoever requested an image may not approve it here: another person has to."
PASSED_ON = (401, 403, 404, 409)


def add_measurement_routes(app: FastAPI) -> None:
    """Add the pages and the action."""
    page = HTMLResponse
    app.get("/measurements", response_class=page, dependencies=MAY_SEE)(measurements)
    app.get("/measurements/{run_id}", response_class=page, dependencies=MAY_SEE)(question)
    app.post("/measurements/{run_id}", dependencies=[OWN_PAGE, *MAY_SEE])(answer)


def measurements(session: SessionDep) -> str:
    """Show what waits for a decision, what each platform runs, and every approval."""
    now = uses(session)
    return render(
        "measurements/ledgers.html",
        root="",
        questions=open_questions(session),
        uses=now,
        ledgers=ledgers(now),
    )


def question(run_id: RunId, session: SessionDep, user: GetUserDep) -> str:
    """Show all that a person needs to decide about one measurement."""
    return decision_page(found(session, run_id), user)


async def answer(run_id: RunId, request: Request, session: SessionDep, user: GetUserDep) -> Response:
    """Approve or reject by Airflow's own API, as the user of the request."""
    form = {name: values[0] for name, values in (await read_form(request)).items()}
    page = await run_in_threadpool(found, session, run_id)
    # Airflow's own API writes from here on, and SQLite lets nobody write while somebody reads.
    session.rollback()
    chosen, rebuilt = form.get("answer", ""), "".join(form.get("rebuilt", "").split()).lower()
    if refused := refusal(page, user, form, rebuilt):
        status, why = refused
        return HTMLResponse(decision_page(page, user, why), status_code=status)
    fields = {REBUILT: rebuilt} if rebuilt and chosen == APPROVE else {}
    said = await AirflowApi(request).answer(IMAGE_DAG, run_id, APPROVAL_TASK, chosen, fields)
    if not said.is_done:
        status = said.status if said.status in PASSED_ON else 502
        why = f"Airflow did not take the answer: {said.said}"
        return HTMLResponse(decision_page(page, user, why), status_code=status)
    return RedirectResponse(quote(run_id, safe=""), status_code=303)


def refusal(page: Decision, user: GetUserDep, form: dict[str, str], rebuilt: str) -> tuple[int, str] | None:
    """Return why an answer is not passed on to Airflow, with the status to say so; None where it is.

    :param form: the fields of the page's form, each with its first value.
    :param rebuilt: the measurement that the approver has entered, lower-case.
    """
    if form.get("answer") not in (APPROVE, REJECT):
        return 400, "Neither Approve nor Reject was chosen, so nothing was answered."
    if not page.question.is_open:
        return 409, "Nothing is asked here any longer, so nothing was answered."
    if form["answer"] == REJECT:
        return None
    if page.proposal is None or not page.is_open:
        return 409, "This cannot be approved here, so nothing was answered."
    proposed = page.proposal.image.mrenclave
    if form.get("mrenclave") != proposed:
        return (
            409,
            "Another image is proposed since the page was loaded. Nothing was answered: read it again.",
        )
    if form.get("reviewed") != "on":
        return 400, "Nothing was approved: say that you have reviewed what differs."
    if rebuilt and rebuilt != proposed:
        return 409, (
            f"Your own build has measured {rebuilt[:80]}, and the proposed image {proposed}. "
            "Nothing was approved. Treat it as an incident until the difference is explained."
        )
    if page.needs_second_person and (why := no_second_person(page, user)):
        return 403, f"{why} Nothing was approved."
    return None


def no_second_person(page: Decision, user: GetUserDep) -> str:
    """Return why the user is not known to be another person than the requester; empty where that is known."""
    question = page.question
    if question.on_command_line or not is_named(question.requester):
        return UNKNOWN_REQUESTER
    names = {"id": user.get_id(), "name": user.get_name()}
    return OWN_REQUEST if is_requester(question.requester, names) else ""


def found(session: Session, run_id: str) -> Decision:
    """Return the page of a run's question.

    :raises HTTPException: 404.
    """
    asked = question_of(session, run_id)
    if asked is None:
        raise HTTPException(404, NO_QUESTION)
    return decision(session, asked)


def decision_page(page: Decision, user: GetUserDep, refused: str = "") -> str:
    """Return the page, with what was refused in front."""
    return render(
        "measurements/decision.html",
        root="../",
        page=page,
        refused=refused,
        may_answer=may_answer(user),
        no_second_person=no_second_person(page, user) if page.needs_second_person else "",
        approve=APPROVE,
        reject=REJECT,
        image_dag=IMAGE_DAG,
    )


def may_answer(user: GetUserDep) -> bool:
    """Whether Airflow would let the user answer; when it is asked to, it decides again."""
    details, entity = DagDetails(id=IMAGE_DAG), DagAccessEntity.HITL_DETAIL
    return get_auth_manager().is_authorized_dag(
        method="PUT", access_entity=entity, details=details, user=user
    )
