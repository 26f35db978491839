"""A Spark job: its program, its arguments, its rules, and what a reader sees of its results."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from confidential_spark.agent.job.job_file import require_supported_form
from confidential_spark.agent.protocol import sha256_hex
from confidential_spark.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from confidential_spark.core.months import Month
    from confidential_spark.core.platforms import Platform
    from confidential_spark.jobs.checks.run import JobRules
    from confidential_spark.jobs.figures import Figure, ResultChart


@dataclass(frozen=True)
class SparkJob:
    """One Spark program and how its arguments follow from a run's options.

    :param name: also the name of its file in `include/jobs/` and of its checks in `include/checks/`.
    :param title: what a reader sees.
    :param monthly: whether a run covers one calendar month of input.
    :param arguments: options of the run → arguments; input and output are added by the agent.
    :param rules: returns when the job's results are right. They are imported when it is called: DAG files
        import this entry, and need neither pydantic nor DuckDB to be parsed.
    :param figures: the numbers of `summary.json` that a reader asks for first.
    :param charts: the result tables that a reader sees as charts.
    """

    name: str
    title: str
    monthly: bool
    arguments: Callable[[Mapping[str, Any]], list[str]] = field(repr=False)
    rules: Callable[[], JobRules[Any]] = field(repr=False)
    figures: tuple[Figure, ...] = field(default=(), repr=False)
    charts: tuple[ResultChart, ...] = field(default=(), repr=False)

    def file(self, jobs_dir: Path) -> Path:
        """Return the program's path.

        :raises ConfigurationError: ``job-file-missing``.
        """
        path = jobs_dir / f"{self.name}.py"
        if not path.is_file():
            raise ConfigurationError(
                f"The program of job {self.name} is missing.",
                code="job-file-missing",
                got=path,
                expected="one Python file per job in include/jobs",
                action="restore the file or correct CONFIDENTIAL_SPARK_INCLUDE_DIR",
            )
        return path

    def require_supported_form(self, jobs_dir: Path) -> None:
        """Refuse a program that the agent would refuse, before anything is started for it.

        :raises ConfigurationError: ``job-file-missing``.
        :raises AgentError: ``job-form-unsupported``, ``job-unreadable``.
        """
        require_supported_form(self.file(jobs_dir))

    def dag_id(self, platform: Platform) -> str:
        """Return the name of the job's DAG on a platform."""
        return f"{self.name}_{platform}"

    def arguments_for(self, month: Month | None, options: Mapping[str, Any]) -> list[str]:
        """Return the job's argument list, the part of the command that evidence covers."""
        head = ["--month", str(month)] if month else []
        return [*head, *self.arguments(options)]


def publication_key(job: SparkJob, month: Month | None, run_id: str) -> str:
    """Return what a published result is filed under: the month, or the run where there is none."""
    if job.monthly:
        return f"month={month}"
    return f"run={safe_name(run_id)}"


def safe_name(text: str) -> str:
    """Return ``text`` as a file name of its own: readable, at most 129 characters, told apart by a digest."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip(".-")[:120]
    return f"{readable}-{sha256_hex(text.encode())[:8]}"
