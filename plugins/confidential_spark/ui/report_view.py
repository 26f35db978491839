"""A published result as a reader sees it: what was proven, what was checked, the figures.

`report.json` and `summary.json` are files like any other: what is missing or of the wrong type is left out,
so that a page never fails. The page proves nothing either; it shows the command that does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

from confidential_spark.jobs.report import dollars, verify_command
from confidential_spark.ui.archive import EVIDENCE, archive_stem
from confidential_spark.ui.charts import Chart, bar_chart
from confidential_spark.ui.rendering import count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from confidential_spark.ui.published import PublishedResult

SIMULATED = "simulated"


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


def result_view(dag_id: str, result: PublishedResult, policy: Path) -> ResultView:
    """Return the view of a published result.

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
        figures=figures(summary),
        steps=step_lines(objects(mapping(report.get("verification")).get("steps"))),
        checks=check_lines(objects(report.get("checks"))),
        identity=identity(report),
        charts=charts(result),
        archive=stem,
        archive_command=verify_command(
            f"{stem}/{EVIDENCE}", f"include/policies/{policy.name}", finished_at(report)
        ),
        verify_command=verify_command(str(result.link / EVIDENCE), str(policy), finished_at(report)),
    )


def finished_at(report: dict[str, Any]) -> str:
    """Return when the enclave signed, or nothing."""
    return text(mapping(mapping(report.get("verification")).get("facts")).get("finished_at"))


def figures(summary: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the summary's figures that have the right type, as labelled text."""
    rows, totals = mapping(summary.get("rows")), mapping(summary.get("totals"))
    whole: list[tuple[str, object, Callable[[int], str]]] = [
        ("Rows read", rows.get("input"), count),
        ("Rows rejected", rows.get("rejected"), count),
        ("Trips", totals.get("trips"), count),
        ("Revenue", totals.get("revenue_cents"), dollars),
        ("Tips", totals.get("tip_cents"), dollars),
        ("Distance", totals.get("distance_millimiles"), lambda value: f"{value // 1000:,} miles"),
        ("Aggregation", summary.get("duration_ms"), lambda value: f"{value:,} ms"),
    ]
    real: list[tuple[str, object, str]] = [
        ("Mean speed (mph)", totals.get("speed_mph"), ".1f"),
        ("π", summary.get("pi"), ".6f"),
    ]
    return (
        *((label, show(value)) for label, value, show in whole if is_whole(value)),
        *((label, f"{value:{form}}") for label, value, form in real if isinstance(value, float)),
    )


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


def charts(result: PublishedResult) -> tuple[Chart, ...]:
    """Return trips by hour and revenue by payment type, where the tables are."""
    hours = [
        (f"{row['hour']:02d}:00", row["trips"], count(row["trips"]))
        for row in result.rows("by_hour.parquet")
        if are_whole(row, "hour", "trips")
    ]
    payments = [
        (text(row.get("payment_type")).replace("_", " "), row["revenue_cents"], dollars(row["revenue_cents"]))
        for row in result.rows("by_payment_type.parquet")
        if are_whole(row, "revenue_cents")
    ]
    drawn = (
        bar_chart("trips-by-hour", "Trips by hour of pick-up", "trips", hours),
        bar_chart("revenue-by-payment", "Revenue by payment type", "US dollars", payments),
    )
    return tuple(chart for chart in drawn if chart.bars)


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


def are_whole(row: dict[str, Any], *names: str) -> bool:
    """Whether these columns hold whole numbers."""
    return all(is_whole(row.get(name)) for name in names)
