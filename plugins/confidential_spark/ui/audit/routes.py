"""Routes of the page Audit: the page, its new verification, its bundle."""

# No postponed annotations here: FastAPI reads them.
import threading
from collections.abc import Iterator
from tempfile import TemporaryFile
from typing import IO, Annotated
from urllib.parse import quote

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi import Path as PathParam
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse, StreamingResponse
from sqlalchemy.orm import Session

from confidential_spark.audit.archive import CHUNK
from confidential_spark.audit.making.bundle import Sources, bundle
from confidential_spark.core.errors import ConfidentialSparkError
from confidential_spark.hooks.results.published_versions import FolderFiles
from confidential_spark.jobs.rollup.rollup import ROLLUPS
from confidential_spark.settings import get_settings
from confidential_spark.ui.airflow_runs import JOB_OF, MONTHLY, PLATFORMS
from confidential_spark.ui.audit.page import AuditPage, audit_page, months_from
from confidential_spark.ui.audit.rechecks import RECHECKS, Rechecks
from confidential_spark.ui.audit.requests import add_request, latest_request
from confidential_spark.ui.gaps.airflow_api import require_own_page
from confidential_spark.ui.gaps.routes import read_form
from confidential_spark.ui.queries import judge_of
from confidential_spark.ui.rendering import render
from confidential_spark.ui.results.deployment import PublishedDep
from confidential_spark.ui.results.live_verification import KeptJudgements
from confidential_spark.ui.results.published import PublishedResults
from confidential_spark.ui.room.routes import MAY_SEE_RUNS, VerifierDep, month_or_none

DagId = Annotated[str, PathParam(max_length=250)]
Text = Annotated[str, Query(max_length=40)]
NO_MONTHS = "This DAG has no months, or is none of this project's."
# A bundle takes a processor for seconds: one at a time.
MAKING = threading.Lock()


def rechecks() -> Rechecks:
    """Return what verifies ranges beside the requests."""
    return RECHECKS


RechecksDep = Annotated[Rechecks, Depends(rechecks)]


def add_audit_routes(app: FastAPI) -> None:
    """Add the page, the action and the download."""
    page, see = HTMLResponse, MAY_SEE_RUNS
    app.get("/audit/{dag_id}", response_class=page, dependencies=see)(show)
    app.post("/audit/{dag_id}", dependencies=[Depends(require_own_page), *see])(recheck)
    app.get("/audit/{dag_id}/bundle.zip", dependencies=see)(download_bundle)


def show(
    dag_id: DagId,
    session: SessionDep,
    user: GetUserDep,
    results: PublishedDep,
    verifier: VerifierDep,
    rechecks: RechecksDep,
    first: Text = "",
    last: Text = "",
) -> str:
    """Show the verdict of every month of a range."""
    visible = get_auth_manager().get_authorized_dag_ids(user=user, method="GET")
    follow_request(session, dag_id, results, rechecks)
    span = {"first": month_or_none(first), "last": month_or_none(last)}
    page = audit_page(session, dag_id, visible, results, verifier, rechecks, **span)
    if page is None:
        raise HTTPException(404, NO_MONTHS)
    return render("audit.html", root="../", page=page)


async def recheck(
    dag_id: DagId,
    request: Request,
    session: SessionDep,
    user: GetUserDep,
    results: PublishedDep,
    rechecks: RechecksDep,
) -> RedirectResponse:
    """Verify the published months of a range anew; of a DAG one range at a time."""
    form = await read_form(request)
    first, last = (month_or_none(form.get(name, [""])[0]) for name in ("first", "last"))
    if dag_id not in MONTHLY:
        raise HTTPException(404, NO_MONTHS)
    if first is None or last is None or last < first:
        raise HTTPException(400, "The range of months is unusable, so nothing was started.")
    latest = rechecks.latest(dag_id)
    if latest and not latest.is_over:
        raise HTTPException(409, "A range of this DAG is being verified, so nothing was started.")
    await run_in_threadpool(add_request, session, dag_id, first, last, user.get_name())
    await run_in_threadpool(follow_request, session, dag_id, results, rechecks)
    place = f"{quote(dag_id, safe='')}?first={first}&last={last}"
    return RedirectResponse(place, status_code=303)


def follow_request(session: Session, dag_id: str, results: PublishedResults, rechecks: Rechecks) -> None:
    """Begin to verify what is published of the range that was asked for last, on whichever server."""
    request = latest_request(session, dag_id) if dag_id in MONTHLY else None
    if request is None or not rechecks.is_new(dag_id, request):
        return
    wanted = {f"month={month}" for month in months_from(request.first, request.last)}
    found = [result for key, result in results.listed(dag_id).items() if key in wanted]
    rechecks.begin(judge_of(dag_id, KeptJudgements()), results, found, request)


def download_bundle(
    dag_id: DagId,
    session: SessionDep,
    results: PublishedDep,
    verifier: VerifierDep,
    rechecks: RechecksDep,
    first: Text = "",
    last: Text = "",
) -> StreamingResponse:
    """Make the bundle of a range, and send it from the disk."""
    span = {"first": month_or_none(first), "last": month_or_none(last)}
    page = audit_page(session, dag_id, (), results, verifier, rechecks, **span)
    if page is None:
        raise HTTPException(404, NO_MONTHS)
    if not MAKING.acquire(blocking=False):
        raise HTTPException(429, "Another bundle is being made. Try again in a moment.")
    try:
        file, size = spooled(sources(page, results), page)
    except (ConfidentialSparkError, OSError) as error:
        raise HTTPException(409, f"There is no bundle: {error}") from error
    finally:
        MAKING.release()
    headers = {
        "Content-Disposition": f'attachment; filename="{page.bundle_name}"',
        "Content-Length": str(size),
    }
    return StreamingResponse(sent(file), media_type="application/zip", headers=headers)


def sources(page: AuditPage, results: PublishedResults) -> Sources:
    """Return what the bundle is made of."""
    settings, job, platform = get_settings(), JOB_OF[page.dag_id], PLATFORMS[page.dag_id]

    def published(dag_id: str, key: str) -> FolderFiles | None:
        result = results.result(dag_id, key)
        if result is None:
            return None
        results.provide(dag_id, result)
        return FolderFiles(result.folder)

    rollup = ROLLUPS.get(job.name)
    years_dag = rollup.dag_id(platform) if rollup else ""

    return Sources(
        job=job.name,
        platform=str(platform),
        policy=settings.policy_path(platform),
        job_files=[job.file(settings.jobs_dir)],
        published=lambda month: published(page.dag_id, f"month={month}"),
        years=lambda year: published(years_dag, f"year={year}") if rollup else None,
        ended=lambda month: page.missing.get(month, ""),
    )


def spooled(sources: Sources, page: AuditPage) -> tuple[IO[bytes], int]:
    """Return a file with the bundle, which is gone when it is closed, and its size.

    Nothing is sent before the bundle is whole, so that a refusal is a page and no half file.
    """
    file = TemporaryFile()  # noqa: SIM115 - closed when it is sent
    try:
        for piece in bundle(sources, str(page.first), str(page.last)):
            file.write(piece)
        size = file.tell()
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file, size


def sent(file: IO[bytes]) -> Iterator[bytes]:
    """Yield a file in pieces, and close it."""
    with file:
        while piece := file.read(CHUNK):
            yield piece
