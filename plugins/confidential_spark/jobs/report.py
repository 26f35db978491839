"""`report.json`: what one run did, what it proves and how long it took, for people and programs."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, ValidationError, model_validator

from confidential_spark.agent.protocol import SIMULATED_NOTICE, TRUST_HARDWARE, TRUST_SIMULATED
from confidential_spark.core.errors import ResultError
from confidential_spark.jobs import JOBS
from confidential_spark.jobs.input.contract import SYNTHETIC_NOTICE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from confidential_spark.jobs.job import SparkJob

REPORT = "report.json"
MAX_REPORT_BYTES = 4 * 1024 * 1024
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Measurement(_Part):
    """Which enclave ran; identities in lower-case hex."""

    mrenclave: str
    mrsigner: str
    product_id: int
    svn: int


class Check(_Part):
    """One result check, as :class:`~confidential_spark.jobs.checks.result.CheckResult` writes it."""

    name: str
    severity: Literal["error", "warn"]
    passed: bool
    got: str
    expected: str
    detail: str


class Figures(_Part):
    """The figures a reader asks for first: rows, and what the job's entry calls a headline."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, StrictInt | StrictFloat | None] = Field(init=False)

    rows: int
    rejected: int = 0

    @classmethod
    def of(cls, summary: Mapping[str, Any], job: SparkJob) -> Self:
        """Pick the figures from a checked `summary.json` of ``job``."""
        headlines = {figure.name: figure.value(summary) for figure in job.figures if figure.headline}
        rows = summary["rows"]
        return cls(rows=rows["input"], rejected=rows["rejected"], **headlines)  # type: ignore[arg-type]


class RunReport(_Part):
    """One run's report, version 1.

    :param notice: what the trust level is worth; null for hardware.
    :param synthetic: whether the input was made up by this project.
    :param verification: ``VerificationReport.to_dict()``.
    :param inputs: ``InputManifest.summary()``, None for jobs without input.
    :param timings: stage or task → seconds of wall time.
    """

    schema_version: Literal[1] = 1
    run_id: str
    dag_id: str
    job: str
    month: str | None
    platform: str
    trust: Literal["hardware", "simulated"]
    notice: str | None
    synthetic: bool
    image_digest: str
    measurement: Measurement
    figures: Figures
    verification: dict[str, Any]
    checks: tuple[Check, ...]
    inputs: dict[str, Any] | None
    timings: dict[str, Seconds]

    @model_validator(mode="after")
    def _say_what_it_is_worth(self) -> Self:
        expected = SIMULATED_NOTICE if self.trust == TRUST_SIMULATED else None
        if self.notice != expected:
            raise ValueError(f"trust {self.trust} needs the notice {expected!r}, got {self.notice!r}")
        return self

    def to_json(self) -> str:
        """Return the same text for the same report: sorted keys, indented, UTF-8."""
        value = self.model_dump(mode="json")
        return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read `report.json` from a file.

        :raises ResultError: ``report-unreadable``.
        """

        def content(limit: int) -> bytes:
            with path.open("rb") as file:
                return file.read(limit + 1)

        return cls.parse(content, str(path))

    @classmethod
    def parse(cls, read: Callable[[int], bytes], where: str) -> Self:
        """Read `report.json` from wherever it is.

        :param read: returns the content, of which it need not return much more than this many bytes.
        :param where: for people.
        :raises ResultError: ``report-unreadable``.
        """
        try:
            content = read(MAX_REPORT_BYTES)
            if len(content) > MAX_REPORT_BYTES:
                raise ValueError(f"more than {MAX_REPORT_BYTES} bytes")
            return cls.model_validate_json(content)
        except (OSError, ValueError, ValidationError) as error:
            raise ResultError(
                "The report cannot be read.",
                code="report-unreadable",
                got=f"{where}: {error}",
                expected="a report of version 1",
                action="run the month again",
            ) from error

    @property
    def seconds(self) -> float:
        """Wall time of everything that was timed."""
        return sum(self.timings.values())

    @property
    def checks_text(self) -> str:
        """The checks as a short phrase."""
        passed = sum(check.passed for check in self.checks)
        warnings = [check.name for check in self.checks if not check.passed and check.severity == "warn"]
        note = f" · WARNING: {', '.join(warnings)}" if warnings else ""
        return f"{passed} of {len(self.checks)} passed{note}"

    def to_xcom(self) -> dict[str, Any]:
        """Return the report in less than 1 kB."""
        return {
            "month": self.month,
            "trust": self.trust,
            "notice": self.notice,
            "synthetic": self.synthetic,
            "figures": self.figures.model_dump(exclude_none=True),
            "checks": self.checks_text[:300],
            "seconds": round(self.seconds, 1),
        }

    def verdict_text(
        self, results: str, policy: str, job_file: str, verifier: str = "confidential-spark"
    ) -> str:
        """Return the verdict for terminal and log.

        :param results: folder or link where the results are, or the address of a version in Blob.
        :param policy: path of the policy that the evidence must satisfy.
        :param job_file: path of the job's program, which the evidence must name.
        :param verifier: how the reader calls this project's command line.
        """
        folder, fetch = results.rstrip("/"), {}
        if "://" in results:
            home, _, key, _ = folder.rsplit("/", 3)
            folder, fetch = key, {"Copy": shlex.join([verifier, "results", "get", home, key, key])}
        evidence = f"{folder}/evidence.json"
        at = self.verification["facts"]["finished_at"]
        lines = {
            "Run": self.run_id,
            "Month": self.month or "–",
            "Input": self._input_text(),
            **self._figure_lines(),
            "Duration": f"{self.seconds:.1f} s",
            "Checks": self.checks_text,
            "Enclave": f"MRENCLAVE {self.measurement.mrenclave[:16]}…",
            "Trust": self.notice or TRUST_HARDWARE,
            "Results": results,
            "Evidence": evidence,
            **fetch,
            "Verify": self._verify_command(evidence, policy, job_file, at, verifier),
        }
        return "\n".join(f"{name:>9}  {value}" for name, value in lines.items())

    def _verify_command(self, evidence: str, policy: str, job_file: str, at: str, verifier: str) -> str:
        """Return the shell command that repeats the verification; with ``--at``, it outlives the token."""
        options = {"--policy": policy, "--month": self.month, "--job-file": job_file, "--at": at}
        given = [part for name, value in options.items() if value for part in (name, value)]
        return shlex.join([verifier, "verify", evidence, *given])

    def _input_text(self) -> str:
        if self.inputs is None:
            return "none"
        version = f", {self.inputs['version']}" if self.inputs.get("version") else ""
        text = f"{self.inputs['uri']} ({self.inputs['files']} files, {self.inputs['bytes']:,} bytes{version})"
        return f"{text} · {SYNTHETIC_NOTICE}" if self.synthetic else text

    def _figure_lines(self) -> dict[str, str]:
        figures = self.figures.model_dump(exclude_none=True)
        lines = {"Rows": f"{figures['rows']:,} ({figures['rejected']:,} rejected)"}
        known = JOBS[self.job].figures if self.job in JOBS else ()
        return lines | {
            figure.label: figure.show(figures[figure.name]) for figure in known if figure.name in figures
        }
