"""A published result as a reader sees it: what was proven, what was checked, the figures.

`report.json` and `summary.json` are files like any other: what is missing or of the wrong type is left out,
so that a page never fails. The page proves nothing either; it shows the command that does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

from confidential_spark.jobs.figures import Figure
from confidential_spark.jobs.report import verify_command
from confidential_spark.ui.archive import EVIDENCE, archive_stem
from confidential_spark.ui.charts import Chart, bar_chart

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from confidential_spark.jobs.figures import ResultChart
    from confidential_spark.jobs.job import SparkJob
    from confidential_spark.ui.published import PublishedResult

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
    :param trust: ``hardware``, ``simulated`` or empty when unknown.
    :param run_id: Airflow's id of the run that published it, or empty.
    :param archive: name of the archive without ``.zip``.
    :param archive_command: verifies the unpacked archive, in a checkout of this project.
    :param verify_command: verifies what is published where Airflow runs.
    """

    key: str
    version: str
    trust: str
    synthetic: bool
    run_id: str
    figures: tuple[tuple[str, str], ...]
    steps: tuple[Line, ...]
    checks: tuple[Line, ...]
    identity: tuple[tuple[str, str], ...]
    charts: tuple[Chart, ...]
    archive: str
    archive_command: str
    verify_command: str


def result_view(dag_id: str, job: SparkJob, result: PublishedResult, policy: Path) -> ResultView:
    """Return the view of a published result of ``job``.

    :param policy: the policy that the platform's evidence must satisfy.
    """
    stem = archive_stem(dag_id, result.key)
    report, summary = result.document("report.json"), result.document("summary.json")
    return ResultView(
        key=result.key,
        version=result.version,
        trust=text(report.get("trust")),
        synthetic=report.get("synthetic") is True,
        run_id=text(report.get("run_id")).removeprefix(f"{dag_id}/"),
        figures=figures(summary, job),
        steps=step_lines(objects(mapping(report.get("verification")).get("steps"))),
        checks=check_lines(objects(report.get("checks"))),
        identity=identity(report),
        charts=charts(result, job),
        archive=stem,
        archive_command=verify_command(
            f"{stem}/{EVIDENCE}", f"include/policies/{policy.name}", finished_at(report)
        ),
        verify_command=verify_command(str(result.link / EVIDENCE), str(policy), finished_at(report)),
    )


def finished_at(report: dict[str, Any]) -> str:
    """Return when the enclave signed, or nothing."""
    return text(mapping(mapping(report.get("verification")).get("facts")).get("finished_at"))


def figures(summary: dict[str, Any], job: SparkJob) -> tuple[tuple[str, str], ...]:
    """Return the summary's figures that have the right type, as labelled text: every job's, then its own."""
    shown = (*COMMON_FIGURES, *job.figures, AGGREGATION)
    values = ((figure, figure.value(summary)) for figure in shown)
    return tuple((figure.label, figure.show(value)) for figure, value in values if value is not None)


def identity(report: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return what the evidence names: enclave, token, platform."""
    facts = mapping(mapping(report.get("verification")).get("facts"))
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
