"""A published result as a reader sees it: what was proven, what was checked, the figures.

`report.json` and `summary.json` are files like any other: what is missing or of the wrong type is left out,
so that a page never fails. What is claimed is what the page's own verification found.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from confidential_spark.jobs.figures import Figure
from confidential_spark.ui.results.archive import EVIDENCE, archive_stem
from confidential_spark.ui.views.charts import Chart, bar_chart
from confidential_spark.ui.views.provenance import Provenance, provenance
from confidential_spark.ui.views.run_view import Verdict
from confidential_spark.ui.views.verify_commands import IN_A_CHECKOUT, VerifyCommand, installed_program
from confidential_spark.verification import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from confidential_spark.jobs.figures import ResultChart
    from confidential_spark.jobs.job import SparkJob
    from confidential_spark.ui.results.live_verification import Claim, Judge, Judgement
    from confidential_spark.ui.results.published import PublishedResult

COMMON_FIGURES = (Figure("Rows read", "rows.input"), Figure("Rows rejected", "rows.rejected"))
AGGREGATION = Figure("Aggregation", "duration_ms", "{:,} ms".format)


@dataclass(frozen=True)
class Line:
    """One verification step or result check; ``tone`` is good, bad, warn or idle."""

    label: str
    status: str
    tone: str
    detail: str = ""
    code: str = ""
    got: str = ""
    expected: str = ""


@dataclass(frozen=True)
class ResultView:
    """The parts of a page about one published result.

    :param version: which of the month's versions this is.
    :param judgement: what this page's own verification found.
    :param trust: what that proved: ``hardware`` or ``simulated``; empty when nothing.
    :param run_id: Airflow's id of the run that published it, or empty.
    :param provenance: where it comes from; None unless this page's verification passed.
    :param archive: name of the archive without ``.zip``.
    :param archive_command: verifies the unpacked archive, in a checkout of this project.
    :param verify_command: verifies what is published where Airflow runs.
    """

    key: str
    version: str
    judgement: Judgement
    trust: str
    synthetic: bool
    run_id: str
    figures: tuple[tuple[str, str], ...]
    steps: tuple[Line, ...]
    checks: tuple[Line, ...]
    identity: tuple[tuple[str, str], ...]
    provenance: Provenance | None
    charts: tuple[Chart, ...]
    archive: str
    archive_command: str
    verify_command: str

    @property
    def failure_code(self) -> str:
        """Why this page's verification did not pass; empty when it did."""
        report = self.judgement.report
        return "" if report.outcome is Outcome.VERIFIED else text(report.code)


def result_view(judge: Judge, result: PublishedResult, run_id: str = "") -> ResultView:
    """Verify a published result of the judge's DAG, and return its view.

    :param run_id: of the run whose page this is.
    """
    judgement, job, stem = judge.judge(result, run_id), judge.job, archive_stem(judge.dag_id, result.key)
    report, summary = result.document("report.json"), result.document("summary.json")
    # Figures and checks of files that are not what the enclave wrote are nobody's.
    credible = judgement.report.outcome is not Outcome.REFUSED
    proven = judgement.report.to_dict()
    return ResultView(
        key=result.key,
        version=result.version,
        judgement=judgement,
        trust=text(judgement.report.trust),
        synthetic=report.get("synthetic") is True,
        run_id=run_id or run_of(judge.dag_id, judgement.claim, report),
        figures=figures(summary, job) if credible else (),
        steps=step_lines(proven["steps"]),
        checks=check_lines(objects(report.get("checks"))) if credible else (),
        identity=identity(proven["facts"]),
        provenance=provenance(judge, judgement),
        # A table is read by much code; only what the enclave has written is.
        charts=charts(result, job) if judgement.report.outcome is Outcome.VERIFIED else (),
        archive=stem,
        archive_command=archive_command(judge, judgement.claim, f"{stem}/{EVIDENCE}"),
        verify_command=local_command(judge, judgement.claim, result),
    )


def run_of(dag_id: str, claim: Claim, report: dict[str, Any]) -> str:
    """Return Airflow's id of the run that the evidence names, else that which the report names."""
    names = (claim.run_id, text(report.get("run_id")))
    ids = (name.removeprefix(f"{dag_id}/") for name in names if name.startswith(f"{dag_id}/"))
    return next(filter(None, ids), "")


def archive_command(judge: Judge, claim: Claim, evidence: str) -> str:
    """Return the command for a checkout of this project in which the archive is unpacked."""
    policy, job_file = f"include/policies/{judge.policy_path.name}", f"include/jobs/{judge.job_file.name}"
    return VerifyCommand(IN_A_CHECKOUT, evidence, policy, job_file, claim, judge.keys_of).text()


def local_command(judge: Judge, claim: Claim, result: PublishedResult) -> str:
    """Return the command for the machine that Airflow runs on; blobs are copied first."""
    program, folder = installed_program(), result.link
    copy = ""
    if result.copied_from:
        folder = Path(archive_stem(judge.dag_id, result.key))
        parts = (*program, "results", "get", result.copied_from, result.key, str(folder))
        copy = f"{shlex.join(parts)} &&\n"
    files = (str(folder / EVIDENCE), str(judge.policy_path), str(judge.job_file))
    return copy + VerifyCommand(program, *files, claim, judge.keys_of).text()


def live_verdict(judgement: Judgement, checks: Sequence[Line]) -> Verdict:
    """Return what a page claims of a published result: what its own verification found."""
    when = "JUST NOW" if judgement.fresh else f"AT {judgement.checked_at:%H:%M:%S} UTC"
    judged = f"under policy {judgement.report.policy}, as of {judgement.claim.at or 'now'}"
    failure = judgement.report.failure
    if failure is None:
        note, tone = remarks(checks)
        word = f"VERIFIED {when} {judgement.counts} ({judgement.elapsed_ms:.0f} ms)"
        seen = "" if judgement.fresh else " No file has changed since."
        return Verdict(
            f"{word}{note}", tone, f"This page verified the evidence and every result file {judged}.{seen}"
        )
    refused = judgement.report.outcome is Outcome.REFUSED
    step = f"step {failure.number}, {failure.code}: {failure.detail}"
    if refused:
        return Verdict(f"REFUSED {when}", "bad", f"{step[0].upper()}{step[1:]} Judged {judged}.")
    return Verdict(
        "NOT CHECKED", "warn", f"Nothing is proven. {step[0].upper()}{step[1:]} {failure.action or ''}"
    )


def remarks(checks: Sequence[Line]) -> tuple[str, str]:
    """Return what a verdict adds about checks that were not passed, and the tone that this gives it."""
    warned = sum(check.tone == "warn" for check in checks)
    failed = sum(check.tone == "bad" for check in checks)
    parts = ((failed, "CHECK FAILED", "CHECKS FAILED"), (warned, "WARNING", "WARNINGS"))
    note = "".join(f" · {count} {one if count == 1 else many}" for count, one, many in parts if count)
    return note, "bad" if failed else "warn" if warned else "good"


def figures(summary: dict[str, Any], job: SparkJob) -> tuple[tuple[str, str], ...]:
    """Return the summary's figures that have the right type, as labelled text: every job's, then its own."""
    shown = (*COMMON_FIGURES, *job.figures, AGGREGATION)
    values = ((figure, figure.value(summary)) for figure in shown)
    return tuple((figure.label, figure.show(value)) for figure, value in values if value is not None)


def identity(facts: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return what the verification proved of the evidence: enclave, token, platform."""
    names = {
        "MRENCLAVE": "mrenclave",
        "MRSIGNER": "mrsigner",
        "TCB status": "tcb_status",
        "Issuer": "issuer",
        "Token id": "token_id",
        "Image": "image_digest",
        "Nonce": "nonce",
    }
    return tuple((label, text(facts[name])) for label, name in names.items() if facts.get(name))


def step_lines(steps: Iterable[dict[str, Any]]) -> tuple[Line, ...]:
    """Return the verification's numbered steps."""
    tones = {"PASS": "good", "FAIL": "bad"}
    return tuple(
        Line(
            label=f"{text(step.get('number'))} · {text(step.get('title'))}",
            status=text(step.get("status")),
            tone=tones.get(text(step.get("status")), "idle"),
            **details(step),
        )
        for step in steps
    )


def check_lines(checks: Iterable[dict[str, Any]]) -> tuple[Line, ...]:
    """Return the result checks; a failed warning is a warning."""

    def line(check: dict[str, Any]) -> Line:
        passed = check.get("passed") is True
        warned = text(check.get("severity")).startswith("warn")
        status, tone = ("PASS", "good") if passed else ("WARN", "warn") if warned else ("FAIL", "bad")
        return Line(label=text(check.get("name")), status=status, tone=tone, **details(check))

    return tuple(line(check) for check in checks)


def charts(result: PublishedResult, job: SparkJob) -> tuple[Chart, ...]:
    """Return the job's charts whose tables are there."""
    drawn = (
        bar_chart(
            f"{chart.table}-{chart.value}", chart.title, chart.unit, bars(result.rows(chart.table), chart)
        )
        for chart in job.charts
    )
    return tuple(chart for chart in drawn if chart.bars)


def bars(rows: Iterable[dict[str, Any]], chart: ResultChart) -> list[tuple[str, int, str]]:
    """Return label, length and text of a table's rows that have the right types."""
    found = []
    for row in rows:
        label, value = row.get(chart.label), row.get(chart.value)
        if is_whole(value) and type(label) is chart.label_kind:
            found.append((chart.show_label(label), value, chart.show(value)))
    return found


def details(source: dict[str, Any]) -> dict[str, str]:
    """Return the columns that steps and checks share."""
    return {name: text(source.get(name)) for name in ("detail", "code", "got", "expected")}


def text(value: object) -> str:
    """Return a JSON value as short text; empty for null."""
    return "" if value is None else str(value)[:500]


def mapping(value: object) -> dict[str, Any]:
    """Return the value when it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def objects(value: object) -> list[dict[str, Any]]:
    """Return the objects of a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def is_whole(value: object) -> TypeGuard[int]:
    """Whether it is a whole number; true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool)
