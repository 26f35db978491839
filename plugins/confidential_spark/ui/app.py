"""Routes of the pages. Strangers get 401, users who may not see a DAG get 403, and nobody can name a path."""

# No postponed annotations here: FastAPI reads them.
import logging
from collections.abc import Awaitable, Callable
from hashlib import sha256
from http import HTTPStatus
from typing import Annotated
from urllib.parse import quote

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep, get_user
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi import Path as PathParam
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from confidential_spark.core.errors import ConfidentialSparkError
from confidential_spark.core.runbooks import RUNBOOKS, Runbooks
from confidential_spark.jobs.rollup.rollup import ROLLUP_OF
from confidential_spark.settings import PROJECT_DIR
from confidential_spark.ui import queries
from confidential_spark.ui.audit.routes import add_audit_routes
from confidential_spark.ui.gaps.routes import add_gaps_routes
from confidential_spark.ui.measurements.routes import add_measurement_routes
from confidential_spark.ui.rendering import ICON, ICON_DARK, SCRIPT, STYLESHEET, render
from confidential_spark.ui.results.archive import archive, archive_stem, year_subjects
from confidential_spark.ui.results.deployment import PublishedDep
from confidential_spark.ui.results.deployment import published as published
from confidential_spark.ui.results.published import DOCUMENTS, PublishedResults
from confidential_spark.ui.results.years.page import YearPage, year_page
from confidential_spark.ui.room.neighbours import neighbours
from confidential_spark.ui.room.page import known_near
from confidential_spark.ui.room.routes import MAY_SEE_RUNS, VerifierDep, add_room_routes
from confidential_spark.ui.views.calendar_view import CellState
from confidential_spark.ui.views.runbook_view import runbook_page

log = logging.getLogger(__name__)
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    # Own addresses only; without any, browsers would not say which page sent a form.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
IF_REPLACED = "If a later run has replaced the result since, load its page again."
# Airflow's and FastAPI's own words that say too little.
DETAILS = {
    "Not authenticated": "You are not logged in.",
    "Forbidden": "You may not see this DAG, or what its runs have found.",
    "Not Found": "There is no such page.",
    "Method Not Allowed": "This address is of a form: it cannot be opened by itself.",
}
# What to do next.
ADVICE = {
    401: "Log in to Airflow. Nothing was shown, and nothing was done.",
    403: "Ask Airflow's administrator for the right that is missing.",
    404: "Runs and results appear here when you may see their DAG and they exist.",
    429: "Wait a moment, then load this page again.",
    502: "The logs of Airflow's API server say more.",
    503: "Load the page again when the storage answers; nothing that is published has changed.",
}
DagId = Annotated[str, PathParam(max_length=250)]
RunId = Annotated[str, PathParam(max_length=250)]
Key = Annotated[str, PathParam(max_length=300)]
PageName = Annotated[str, PathParam(max_length=100)]
# A page names the version it shows, so that all downloads of one page belong together.
Version = Annotated[str, Query(max_length=300)]


def create_app() -> FastAPI:
    """Return the application; every route needs a user of Airflow."""
    app = FastAPI(
        title="Confidential Spark",
        dependencies=[Depends(get_user)],
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.middleware("http")(add_headers)
    app.exception_handler(StarletteHTTPException)(error_page)
    app.exception_handler(RequestValidationError)(unusable_page)
    app.exception_handler(ConfidentialSparkError)(storage_page)
    app.get("/", response_class=HTMLResponse)(list_page)
    app.get("/style.css")(stylesheet)
    app.get("/page.js")(script)
    app.get("/icon.svg")(icon)
    app.get("/icon-dark.svg")(icon_dark)
    app.get("/runs/{dag_id}/{run_id}", response_class=HTMLResponse, dependencies=MAY_SEE_RUNS)(run_page)
    app.get("/runbooks/{name}", response_class=HTMLResponse)(runbook)
    app.get("/results/{dag_id}/{key}", response_class=HTMLResponse, dependencies=MAY_SEE_RUNS)(result_page)
    app.get("/results/{dag_id}/{key}/archive.zip", dependencies=MAY_SEE_RUNS)(download_archive)
    app.get("/results/{dag_id}/{key}/{name}", dependencies=MAY_SEE_RUNS)(download)
    add_room_routes(app)
    add_gaps_routes(app)
    add_audit_routes(app)
    add_measurement_routes(app)
    return app


async def add_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Let no page load, run or be framed by anything foreign, and send no page that has not changed."""
    response = await call_next(request)
    response.headers.update(HEADERS)
    if request.method == "GET" and response.status_code == HTTPStatus.OK and is_page(response):
        return await unless_known(request, response)
    return response


def is_page(response: Response) -> bool:
    """Whether it is one of our pages, and no download."""
    return response.headers.get("content-type", "").startswith("text/html")


async def unless_known(request: Request, response: Response) -> Response:
    """Return a page with its ETag, or 304 where the browser has it."""
    content = b"".join([part async for part in response.body_iterator])  # type: ignore[attr-defined]
    etag = f'"{sha256(content).hexdigest()[:32]}"'
    headers = {**HEADERS, "ETag": etag}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return HTMLResponse(content, headers=headers)


async def error_page(request: Request, error: Exception) -> Response:
    """Say what is wrong and what to do next, not in JSON; lead a stranger's browser to the login page."""
    status = getattr(error, "status_code", 500)
    detail = str(getattr(error, "detail", "Something went wrong."))
    root = "../" * (request.scope["path"].removeprefix(request.scope["root_path"]).count("/") - 1)
    login = ""
    if status == HTTPStatus.UNAUTHORIZED:
        login = after_login(request)
        # Not in Airflow's frame: its own page notices first that the session has ended.
        if request.headers.get("sec-fetch-dest") == "document" and request.method == "GET":
            place = f"{root}../api/v2/auth/login?next={quote(login, safe='')}"
            return RedirectResponse(place, status_code=HTTPStatus.SEE_OTHER)
    advice = ADVICE.get(status, "Go back, load the page again, and repeat what you did.")
    said = {"detail": DETAILS.get(detail, detail), "advice": advice, "login": login}
    return HTMLResponse(render("error.html", root=root, status=status, **said), status_code=status)


def after_login(request: Request) -> str:
    """Return where a login leads: to the page that was asked for, or where a form would have been sent."""
    if request.method != "GET":
        return f"{request.scope['root_path']}/room"
    return f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path


async def unusable_page(request: Request, error: Exception) -> Response:
    """Say which part of an address is unusable."""
    errors = error.errors() if isinstance(error, RequestValidationError) else ()
    parts = "; ".join(f"{each['loc'][-1]}: {each['msg']}" for each in errors)
    return await error_page(request, HTTPException(422, f"The address is unusable. {parts}."))


async def storage_page(request: Request, error: Exception) -> Response:
    """Say why the results cannot be read: their storage is away, or refuses the credentials."""
    log.warning("The page %s cannot be shown: %s", request.url.path, error)
    code, message = getattr(error, "code", ""), getattr(error, "message", "")
    return await error_page(request, HTTPException(503, f"{message} [{code}] The server's log says more."))


def list_page(session: SessionDep, user: GetUserDep, results: PublishedDep) -> str:
    """Show the published months of each DAG the user may see, and the last runs."""
    visible = get_auth_manager().get_authorized_dag_ids(user=user, method="GET")
    page = queries.list_page(session, visible, results)
    return render("results/list.html", root="", page=page, states=CellState)


def run_page(dag_id: DagId, run_id: RunId, session: SessionDep, results: PublishedDep) -> str:
    """Show one DAG run: verdict, stages, verification done now, checks, figures."""
    page = queries.run_page(session, dag_id, run_id, results)
    if page is None:
        raise HTTPException(404, "There is no enclave report: no such run of a DAG of this project.")
    return render("results/run.html", root="../../", page=page, beside=None)


def result_page(
    dag_id: DagId, key: Key, session: SessionDep, results: PublishedDep, verifier: VerifierDep
) -> str:
    """Show one published result, which may be older than Airflow's memory of the run."""
    if dag_id in ROLLUP_OF:
        return render("results/year.html", root="../../", page=year_or_404(session, dag_id, key, results))
    page = queries.result_page(session, dag_id, key, results)
    if page is None:
        raise HTTPException(404, "Nothing is published under that name.")
    beside = neighbours(dag_id, key, known_near(dag_id, key, results, verifier).results)
    return render("results/run.html", root="../../", page=page, beside=beside)


def year_or_404(session: SessionDep, dag_id: str, key: str, results: PublishedResults) -> YearPage:
    """Return a published year, verified now.

    :raises HTTPException: 404.
    """
    page = year_page(session, dag_id, key, results)
    if page is None:
        raise HTTPException(404, "No year is published under that name.")
    return page


def runbook(name: PageName) -> Response:
    """Show a runbook, or lead from a failure's code or a task's id to the runbook about it."""
    runbooks = Runbooks(PROJECT_DIR / RUNBOOKS)
    page = runbook_page(runbooks, name)
    if page is not None:
        return HTMLResponse(render("runbook.html", root="../", page=page))
    place = runbooks.place(name)
    if not place:
        raise HTTPException(404, "There is no runbook of that name.")
    return RedirectResponse(place)


def download(dag_id: DagId, key: Key, name: str, results: PublishedDep, version: Version = "") -> Response:
    """Hand out one of the published files that a reader needs to verify a result."""
    result = results.result(dag_id, key, version)
    content = result.content(name) if result and name in DOCUMENTS else None
    if content is None:
        raise HTTPException(
            404, f"There is no such file. {IF_REPLACED}" if version else "There is no such file."
        )
    return attachment(content, "application/json", f"{dag_id}-{key}-{name}".replace("=", "-"))


def download_archive(dag_id: DagId, key: Key, results: PublishedDep, version: Version = "") -> Response:
    """Hand out the files of a result that a reader needs to verify it, as one archive."""
    result, stem = results.result(dag_id, key, version), archive_stem(dag_id, key)
    listed_by = year_subjects if dag_id in ROLLUP_OF else None
    content = archive(result.folder, stem, listed_by) if result else None
    if content is None:
        reason = "There is no archive: nothing is published, a signed file is missing, or it is too large."
        raise HTTPException(404, f"{reason} {IF_REPLACED}" if version else reason)
    return attachment(content, "application/zip", f"{stem}.zip")


def attachment(content: bytes, media_type: str, filename: str) -> Response:
    """Return a file for the reader to save."""
    headers = {"Content-Disposition": f'attachment; filename="{filename}"'}
    return Response(content, media_type=media_type, headers=headers)


def stylesheet() -> Response:
    """Return the one stylesheet."""
    return Response(STYLESHEET, media_type="text/css")


def script() -> Response:
    """Return the one script; without it the pages say the same."""
    return Response(SCRIPT, media_type="text/javascript")


def icon() -> Response:
    """Return the sign of the control room in Airflow's navigation."""
    return Response(ICON, media_type="image/svg+xml")


def icon_dark() -> Response:
    """Return the same sign on dark paper."""
    return Response(ICON_DARK, media_type="image/svg+xml")
