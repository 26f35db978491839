"""The page of one published year: the verification done now, its months, its sums, how to verify it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.models.dagrun import DagRun
from sqlalchemy import select

from confidential_spark.agent.protocol import TRUST_SIMULATED
from confidential_spark.ui.results.archive import EVIDENCE, archive_stem
from confidential_spark.ui.results.published import DOCUMENTS
from confidential_spark.ui.results.years.judge import (
    months_dag,
    platform_of,
    predicate_of,
    year_judge_of,
)
from confidential_spark.ui.results.years.runs import newest_year_runs
from confidential_spark.ui.room.needs import airflow_run, result_link
from confidential_spark.ui.views.report_view import figures, mapping, objects, step_lines, text
from confidential_spark.ui.views.run_view import Verdict
from confidential_spark.ui.views.verify_commands import IN_A_CHECKOUT, VerifyYearCommand, installed_program
from confidential_spark.verification import Outcome
from confidential_spark.verification.evidence.bundle import MAX_EVIDENCE_BYTES
from confidential_spark.years.verify import compared

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.orm import Session

    from confidential_spark.ui.results.live_verification import YearJudgement
    from confidential_spark.ui.results.published import PublishedResult, PublishedResults, ReplacedVersion
    from confidential_spark.ui.results.years.judge import YearJudge
    from confidential_spark.ui.room.needs import Link
    from confidential_spark.ui.views.report_view import Line
    from confidential_spark.years.verify import YearReport

OUTSIDE = "The sum itself was computed outside of any enclave; this page has computed it again."


@dataclass(frozen=True)
class PublishedMonths:
    """The months of a year as they are published now.

    :param versions: ``YYYY-MM`` → version and SHA-256 of its `evidence.json`; None: not published.
    :param unread: months whose evidence cannot be read, so that nothing is said of them.
    """

    versions: Mapping[str, tuple[str, str] | None]
    unread: tuple[str, ...]

    def compare(self, report: YearReport) -> YearReport:
        """Return a verified year's report, compared with what could be read."""
        found = compared(report, lambda month: self.versions.get(month, ("", report.months[month])))
        return replace(found, compared=not self.unread)


@dataclass(frozen=True)
class YearMonth:
    """One month of a year.

    :param version: that was added up, as the year's statement says.
    :param evidence_sha256: of the evidence that was added up, and verified.
    :param link: to what is published of the month now; None when nothing is.
    """

    month: str
    version: str
    evidence_sha256: str
    finished_at: str
    figure: str
    word: str
    tone: str
    link: Link | None


@dataclass(frozen=True)
class YearPage:
    """The page.

    :param trust: what the months prove, ``hardware`` or ``simulated``; empty when nothing is proven.
    :param run: address of Airflow's page of the run that made the year; empty when Airflow knows none.
    :param newer: the newest run's address and state, where it is at work or failed since.
    :param months: empty where nothing is proven.
    :param digests: the year's own documents as they are now, with their SHA-256.
    """

    dag_id: str
    months_dag: str
    year: str
    key: str
    version: str
    verdict: Verdict
    report: YearReport
    trust: str
    synthetic: bool
    run_id: str
    run: str
    newer: tuple[str, str] | None
    totals: tuple[tuple[str, str], ...]
    months: tuple[YearMonth, ...]
    digests: tuple[tuple[str, str], ...]
    identity: tuple[tuple[str, str], ...]
    steps: tuple[Line, ...]
    archive: str
    archive_command: str
    verify_command: str
    replaced: tuple[ReplacedVersion, ...]

    @property
    def refusal(self) -> str:
        """Why the verification refused it; empty when it did not."""
        failed = self.report.failure
        return text(failed.code) if failed and self.report.outcome is Outcome.REFUSED else ""


def year_page(session: Session, dag_id: str, key: str, published: PublishedResults) -> YearPage | None:
    """Verify a published year and return its page, or None.

    :param dag_id: one of this project's DAGs of years.
    """
    result = published.result(dag_id, key)
    if result is None:
        return None
    judge, year = year_judge_of(dag_id), key.partition("=")[2]
    judgement = judge.judge(result)
    proven = judgement.report.failure is None
    months = published_months(published, months_dag(dag_id), judgement.report if proven else None)
    report = months.compare(judgement.report) if proven else judgement.report
    said, summary = (predicate_of(result), result.document("summary.json")) if proven else ({}, {})
    run_id = judgement.run_id.removeprefix(f"{dag_id}/") if proven else ""
    stem = archive_stem(dag_id, key)
    return YearPage(
        dag_id=dag_id,
        months_dag=months_dag(dag_id),
        year=year,
        key=key,
        version=result.version,
        verdict=year_verdict(report, judgement, months.unread),
        report=report,
        trust=report.trust or (TRUST_SIMULATED if platform_of(dag_id).trust == TRUST_SIMULATED else ""),
        synthetic=proven and judgement.synthetic,
        run_id=run_id,
        run=known_run(session, dag_id, run_id),
        newer=newer_run(session, dag_id, year, judgement),
        totals=figures(summary, judge.months.job),
        months=year_months(judge, months, report, said, summary) if proven else (),
        digests=document_digests(result),
        identity=identity(report, said),
        steps=step_lines(report.to_dict()["steps"]),
        archive=stem,
        archive_command=archive_command(judge, stem),
        verify_command=local_command(judge, result),
        replaced=published.replaced(dag_id, key),
    )


def published_months(published: PublishedResults, dag_id: str, report: YearReport | None) -> PublishedMonths:
    """Read the evidence of the months that were added up, as they are published now.

    :param report: of a verified year; None reads nothing.
    :raises ResultError: what the storage refuses.
    """
    bound = report.months if report else {}
    listed = published.listed(dag_id) if bound else {}
    versions: dict[str, tuple[str, str] | None] = {}
    unread = []
    for month in bound:
        result = listed.get(f"month={month}")
        if result is None:
            versions[month] = None
            continue
        published.provide(dag_id, result)
        content = result.content(EVIDENCE, MAX_EVIDENCE_BYTES)
        if content is None:
            unread.append(month)
        else:
            versions[month] = (result.version, sha256(content).hexdigest())
    return PublishedMonths(versions, tuple(unread))


def year_verdict(report: YearReport, judgement: YearJudgement, unread: tuple[str, ...]) -> Verdict:
    """Return what the page claims of a year: what its own verification found."""
    when = "JUST NOW" if judgement.fresh else f"AT {judgement.checked_at:%H:%M:%S} UTC"
    if failed := report.failure:
        step = f"tep {failed.number}, {failed.code}: {failed.detail}"
        if report.outcome is Outcome.REFUSED:
            got = f" Got {failed.got}." if failed.got else ""
            return Verdict(f"REFUSED {when}", "bad", f"S{step}{got} Judged under policy {report.policy}.")
        return Verdict("NOT CHECKED", "warn", f"Nothing is proven. S{step} {failed.action or ''}")
    counts = f"{judgement.counts} ({judgement.elapsed_ms:.0f} ms)"
    seen = "" if judgement.fresh else " No file has changed since."
    verified = (
        f"This page verified each month's evidence and results under policy {report.policy}, and added "
        f"them up again.{seen} {OUTSIDE}"
    )
    if report.stale:
        since = f"It is the sum of the months below, {counts}, and of others than are published now: "
        return Verdict("STALE", "warn", f"{since}{'; '.join(report.stale)}. {verified}")
    if unread:
        left = f"Are its months the published ones? {', '.join(unread)} cannot be read as published now."
        return Verdict(f"VERIFIED {when} {counts} · NOT COMPARED", "warn", f"{left} {verified}")
    return Verdict(f"VERIFIED {when} {counts}", "good", f"Its months are the published ones. {verified}")


def year_months(
    judge: YearJudge,
    published: PublishedMonths,
    report: YearReport,
    said: Mapping[str, Any],
    summary: Mapping[str, Any],
) -> tuple[YearMonth, ...]:
    """Return the months of a verified year.

    :param said: the predicate of its statement.
    """
    materials = {
        text(each.get("name")).removeprefix("month="): each for each in objects(said.get("materials"))
    }
    monthly, headline = mapping(summary.get("months")), judge.months.job.figures[0]
    found = []
    for month, digest in report.months.items():
        material, now = materials.get(month, {}), published.versions.get(month)
        value = headline.value({"totals": mapping(monthly.get(month))})
        if month in published.unread:
            word, tone = "published, cannot be read", "warn"
        elif now is None:
            word, tone = "no longer published", "warn"
        else:
            word, tone = ("published now", "good") if now[1] == digest else (f"replaced by {now[0]}", "warn")
        link = result_link(judge.months.dag_id, f"month={month}", month)
        found.append(
            YearMonth(
                month,
                text(material.get("version")),
                digest,
                text(material.get("finished_at")),
                "–" if value is None else headline.show(value),
                word,
                tone,
                link if now or month in published.unread else None,
            )
        )
    return tuple(found)


def document_digests(result: PublishedResult) -> tuple[tuple[str, str], ...]:
    """Return the year's own documents that can be read, with their SHA-256."""
    contents = ((name, result.content(name)) for name in DOCUMENTS)
    return tuple((name, sha256(content).hexdigest()) for name, content in contents if content is not None)


def identity(report: YearReport, said: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return what the verification has proven of the months, and who made the year; nothing unless it passed.

    :param said: the predicate of its statement.
    """
    materials = objects(said.get("materials"))
    parts = {
        "Policy": [report.policy],
        "Program": {text(each.get("job_file_sha256")) for each in materials},
        "MRENCLAVE": {text(each.get("mrenclave")) for each in materials},
        "Added up": [text(said.get("made_at"))],
        "Run": [text(said.get("run_id"))],
    }
    return tuple((label, ", ".join(sorted(values))) for label, values in parts.items()) if said else ()


def known_run(session: Session, dag_id: str, run_id: str) -> str:
    """Return the address of Airflow's page of a run, or nothing when Airflow does not know it."""
    named = select(DagRun.id).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
    return airflow_run(dag_id, run_id) if run_id and session.scalar(named) else ""


def newer_run(session: Session, dag_id: str, year: str, judgement: YearJudgement) -> tuple[str, str] | None:
    """Return address and state of the year's newest run where it is at work, or failed since."""
    run = newest_year_runs(session, dag_id).get(year)
    made = judgement.made_at
    since = run and run.state == "failed" and run.started and (made is None or run.started > made)
    if run is None or not (run.is_active or since):
        return None
    return airflow_run(dag_id, run.run_id), f"{run.state}{f', {run.code}' if run.code else ''}"


def archive_command(judge: YearJudge, stem: str) -> str:
    """Return the command for a checkout of this project in which the archive is unpacked."""
    months = judge.months
    policy, job = f"include/policies/{months.policy_path.name}", f"include/jobs/{months.job_file.name}"
    return VerifyYearCommand(IN_A_CHECKOUT, stem, policy, job, keys_of=months.keys_of).text()


def local_command(judge: YearJudge, result: PublishedResult) -> str:
    """Return the command for the machine that Airflow runs on; blobs are copied first."""
    program, folder, copy = installed_program(), result.link, ""
    root = f"{folder.parent.parent}"
    if result.copied_from:
        root = result.copied_from.rpartition("/")[0]
        folder = Path(archive_stem(judge.dag_id, result.key))
        parts = (*program, "results", "get", result.copied_from, result.key, str(folder))
        copy = f"{shlex.join(parts)} &&\n"
    months = judge.months
    files = (str(folder), str(months.policy_path), str(months.job_file), f"{root}/{months.dag_id}")
    return copy + VerifyYearCommand(program, *files, keys_of=months.keys_of).text()
