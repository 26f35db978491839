"""What the index says of one published version: enough for lists and plots, and proof of nothing.

Everything here is copied from the version's own files. A reader who needs to know whether it is true verifies
those files.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
)

from confidential_spark.hooks.results.store import SAFE_NAME
from confidential_spark.verification.evidence.claims import Claims

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from confidential_spark.jobs.job import SparkJob

MAX_CHECKS = 200
MAX_STAGES = 20
MAX_FIGURES = 40


def _safe(name: str) -> str:
    if SAFE_NAME.fullmatch(name) is None:
        raise ValueError("no safe name")
    return name


Name = Annotated[str, AfterValidator(_safe)]
Text = Annotated[str, Field(max_length=500)]
Number = StrictInt | Annotated[StrictFloat, Field(allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[StrictInt, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InputSummary(_Part):
    """The input that a version was computed from, as its report names it."""

    uri: Text = ""
    files: Count | None = None
    bytes: Count | None = None
    files_sha256: Text = ""


class IndexEntry(_Part):
    """One published version.

    :param run_id: the run that the evidence names, ``DAG_ID/RUN_ID``; empty when it names none.
    :param signed_at: when the enclave signed, as the evidence says.
    :param evidence_sha256: of its `evidence.json`, by which a year names its months; empty: not known.
    :param trust: what the report claims.
    :param figures: values of the job's figures by name, with the rows.
    :param checks: how many result checks there were.
    :param warned: names of the checks that only warn and were not passed.
    :param failed: names of the checks that were not passed.
    :param timings: seconds by stage or task.
    :param executed: SHA-256 of the job's program, as the report's verification found it.
    """

    version: Name
    run_id: Text = ""
    signed_at: AwareDatetime | None = None
    evidence_sha256: Text = ""
    trust: Text = ""
    synthetic: StrictBool = False
    mrenclave: Text = ""
    policy: Text = ""
    executed: Text = ""
    rows: Count | None = None
    figures: Annotated[dict[Text, Number], Field(max_length=MAX_FIGURES)] = {}
    checks: Count = 0
    warned: Annotated[tuple[Text, ...], Field(max_length=MAX_CHECKS)] = ()
    failed: Annotated[tuple[Text, ...], Field(max_length=MAX_CHECKS)] = ()
    timings: Annotated[dict[Text, Seconds], Field(max_length=MAX_STAGES)] = {}
    input: InputSummary | None = None

    @property
    def seconds(self) -> float | None:
        """Wall time of everything that was timed."""
        return sum(self.timings.values()) if self.timings else None


def index_entry(
    version: str,
    report: Mapping[str, Any],
    summary: Mapping[str, Any],
    evidence: bytes | None,
    job: SparkJob | None,
) -> IndexEntry:
    """Return what the files of a version say; what is missing or of the wrong type is left out.

    :param job: whose figures are kept; None for a job that is no longer there.
    """
    claims = Claims.of(evidence)
    checks = [check for check in _list(report.get("checks")) if isinstance(check, dict)][:MAX_CHECKS]
    verification, rows = _object(report.get("verification")), _object(summary.get("rows"))
    facts = _object(verification.get("facts"))
    return IndexEntry(
        version=version,
        run_id=claims.run_id[:500],
        signed_at=claims.end,
        evidence_sha256=sha256(evidence).hexdigest() if evidence else "",
        trust=_text(report.get("trust")),
        synthetic=report.get("synthetic") is True,
        mrenclave=_text(_object(report.get("measurement")).get("mrenclave")),
        policy=_text(verification.get("policy")),
        executed=_text(facts.get("job_file_sha256")),
        rows=_count(rows.get("accepted")),
        figures=_figures(summary, job),
        checks=len(checks),
        warned=_not_passed(checks, warns=True),
        failed=_not_passed(checks, warns=False),
        timings=_timings(report.get("timings")),
        input=_input(report.get("inputs")),
    )


def _figures(summary: Mapping[str, Any], job: SparkJob | None) -> dict[str, int | float]:
    rows = _object(summary.get("rows"))
    found: dict[str, int | float | None] = {
        f"rows.{name}": _count(rows.get(name)) for name in ("input", "accepted", "rejected")
    }
    for figure in job.figures if job else ():
        found[figure.member] = figure.value(summary)
    return {name: value for name, value in found.items() if value is not None and value == value}  # no NaN


def _not_passed(checks: Sequence[Mapping[str, Any]], *, warns: bool) -> tuple[str, ...]:
    return tuple(
        _text(check.get("name"))
        for check in checks
        if check.get("passed") is not True and _text(check.get("severity")).startswith("warn") is warns
    )


def _timings(value: object) -> dict[str, float]:
    timings = _object(value).items()
    return {
        name[:500]: float(seconds)
        for name, seconds in list(timings)[:MAX_STAGES]
        if isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds < 1e9
    }


def _input(value: object) -> InputSummary | None:
    found = _object(value)
    if not found:
        return None
    return InputSummary(
        uri=_text(found.get("uri")),
        files=_count(found.get("files")),
        bytes=_count(found.get("bytes")),
        files_sha256=_text(found.get("files_sha256")),
    )


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    return value[:500] if isinstance(value, str) else ""


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
