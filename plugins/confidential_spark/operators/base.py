"""What every operator of this project does the same way: errors, retries and the run it belongs to."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from confidential_spark.agent.errors import AgentError
from confidential_spark.core.error_parts import parts_of
from confidential_spark.core.errors import ConfidentialSparkError, InputError, shorten
from confidential_spark.core.months import Month
from confidential_spark.core.runbooks import RUNBOOKS, runbook_of
from confidential_spark.core.stages import FAILURE_KEY, FILL_KEY
from confidential_spark.jobs.job import SparkJob, publication_key
from confidential_spark.operators.outcomes.filling import skip_after_failure
from confidential_spark.operators.outcomes.links import LINKS, remember_failure
from confidential_spark.operators.outcomes.metrics import count_refusal
from confidential_spark.operators.outcomes.retries import interruptions
from confidential_spark.settings import PROJECT_DIR, Settings, get_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow.sdk import Context
    from airflow.sdk.types import Logger, RuntimeTaskInstanceProtocol


# A line that starts with one of these tells a run's story; the rest of a log is detail.
STARTED, PROGRESS, DONE, FAILED = "▶", "…", "✔", "✘"


@contextmanager
def airflow_failures(log: Logger, ti: RuntimeTaskInstanceProtocol) -> Iterator[None]:
    """Turn this project's errors into Airflow's: a retry only where a retry can help.

    The error is also kept as XCom, for the run's page.
    """
    with interruptions():
        try:
            yield
        except (ConfidentialSparkError, AgentError) as error:
            log.error("%s %s: %s", FAILED, ti.task_id, error)
            for line in explanation(error, ti.task_id):
                log.error("    %s", line)
            log.debug("Where it was raised:", exc_info=error)
            ti.xcom_push(key=FAILURE_KEY, value=str(error))
            remember_failure(ti.task_id, error.code)
            count_refusal(error, ti)
            # The agent's own errors are raised here only for a launch that it would refuse: final.
            retryable = isinstance(error, ConfidentialSparkError) and error.retryable
            raised = AirflowException if retryable else AirflowFailException
            # Airflow prints the stack of what it gets, and of its cause: a named failure needs neither.
            raise raised(str(error)) from None
        except AirflowException:
            raise
        except Exception as error:
            # Without a name of ours, but the run's story must say what ended it.
            log.error("%s %s: %s: %s", FAILED, ti.task_id, type(error).__name__, shorten(str(error)))
            raise


def explanation(error: ConfidentialSparkError | AgentError, task_id: str) -> list[str]:
    """Return a named failure part by part, a line each, and the runbook about it."""
    parts = parts_of(str(error)) | {"runbook": runbook_of(error.code, task_id, PROJECT_DIR / RUNBOOKS)}
    return [f"{name + ':':<10}{part}" for name, part in parts.items()]


@dataclass(frozen=True)
class RunScope:
    """The run a task belongs to.

    :param month: the calendar month, or None for jobs without input.
    :param options: the run's Params.
    """

    dag_id: str
    airflow_run_id: str
    try_number: int
    month: Month | None
    options: Mapping[str, Any]

    @property
    def run_id(self) -> str:
        """The run's name in quotes, statements and logs."""
        return f"{self.dag_id}/{self.airflow_run_id}"

    def publication_key(self, job: SparkJob) -> str:
        """Return what this run's result is filed under."""
        return publication_key(job, self.month, self.airflow_run_id)


def run_scope(context: Context, job: SparkJob) -> RunScope:
    """Read the run's identity and month from Airflow's context.

    :raises InputError: the month is malformed or not over yet, or the run names an unknown Param.
    """
    require_known_params(context)
    ti = context["ti"]
    return RunScope(
        dag_id=ti.dag_id,
        airflow_run_id=ti.run_id,
        try_number=ti.try_number,
        month=run_month(context) if job.monthly else None,
        options={name: whole_number(value) for name, value in context["params"].items()},
    )


def whole_number(value: Any) -> Any:
    """Return a whole number as such, however JSON writes it: Airflow takes 1000.0 for an integer Param.

    A job's arguments are text, and evidence covers them to the letter.
    """
    return int(value) if isinstance(value, float) and value.is_integer() else value


def require_known_params(context: Context) -> None:
    """Refuse a misspelt Param: Airflow takes it, and another month than the one asked for would run.

    :raises InputError: ``param-unknown``.
    """
    declared = context["dag"].params
    if unknown := sorted(set(context["dag_run"].conf or {}) - set(declared) - {FILL_KEY}):
        raise InputError(
            "The run was triggered with a Param that this DAG does not have.",
            code="param-unknown",
            got=", ".join(unknown),
            expected=", ".join(declared),
            action="trigger it again with the right name",
        )


def run_month(context: Context) -> Month:
    """Return the run's month: the ``month`` Param, else its data interval, else the last complete month.

    A run triggered by an asset or without a logical date has no data interval.

    :raises InputError: ``month-malformed``, ``month-not-over``, ``interval-not-a-month`` or
        ``month-contradicts-interval``.
    """
    interval, chosen = interval_month(context), context["params"].get("month")
    if chosen:
        month = Month.parse(chosen)
        if interval not in (None, month) and not interval_is_implied(context, interval):
            raise contradiction(context, month, interval)
    else:
        month = interval or last_complete_month(context)
    month.require_complete()
    return month


def interval_month(context: Context) -> Month | None:
    """Return the month of the run's data interval, or None without one.

    :raises InputError: ``month-malformed`` (before 2009), ``interval-not-a-month``.
    """
    start, end = context.get("data_interval_start"), context.get("data_interval_end")
    if start is None:
        return None
    start = start.astimezone(UTC)
    month = Month.parse(f"{start.year:04d}-{start.month:02d}")
    if end is not None and end.timestamp() > month.shift(1).first_second:
        raise InputError(
            "The run's data interval is not within one month.",
            code="interval-not-a-month",
            got=f"{start:%Y-%m-%d} to {end.astimezone(UTC):%Y-%m-%d}",
            expected="an interval within one calendar month (UTC)",
            action="trigger one run for each month, or back-fill the range",
        )
    return month


def interval_is_implied(context: Context, interval: Month | None) -> bool:
    """Return whether nobody chose the interval: Airflow's form fills in the present time for runs by hand."""
    return is_manual(context) and interval == last_complete_month(context)


def is_manual(context: Context) -> bool:
    """Return whether the run was started by hand: its interval is then the one before its logical date."""
    return context["dag_run"].run_type == "manual"


def contradiction(context: Context, month: Month, interval: Month | None) -> InputError:
    """Return the error for a month that is not the interval's: a back-fill would run it every time."""
    run = context["dag_run"]
    chosen = f" with the logical date {run.logical_date:%Y-%m-%d}" if is_manual(context) else ""
    return InputError(
        "The Param `month` contradicts the run's data interval.",
        code="month-contradicts-interval",
        got=f"month {month} in a {run.run_type.value} run{chosen}, whose data interval is {interval}",
        expected=f"no month, or {interval}",
        action="back-fill without `month`; by hand, give a month or a logical date, which stands for the "
        "last month that is over by then",
    )


def month_text(context: Context, month: Month) -> str:
    """Return which month the run is for, and why, as a line of the log."""
    if context["params"].get("month"):
        return f"Month {month}, as the Param `month` says"
    if context.get("data_interval_start") is None:
        return f"Month {month}, the last complete one: the run has neither Param `month` nor data interval"
    if is_manual(context):
        logical_date = context["dag_run"].logical_date
        return f"Month {month}, the last that was over at the run's logical date {logical_date:%Y-%m-%d}"
    return f"Month {month}, the run's data interval"


def last_complete_month(context: Context) -> Month:
    """Return the month before the run's earliest start."""
    run_after = context["dag_run"].run_after
    return Month(run_after.year, run_after.month).shift(-1)


class ConfidentialOperator(BaseOperator):
    """Base of the operators: subclasses write :meth:`run`, and raise this project's errors.

    :param job: the Spark job of the DAG.
    :cvar begins_run: whether nothing of a run happens before this task.
    """

    operator_extra_links = LINKS
    begins_run: ClassVar[bool] = False

    def __init__(self, *, job: SparkJob, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job = job

    def execute(self, context: Context) -> Any:
        """Run, with policy failures final and network failures retried."""
        self.log.info("%s %s", STARTED, self.task_id)
        with airflow_failures(self.log, context["ti"]):
            scope = run_scope(context, self.job)
            if self.begins_run:
                skip_after_failure(context)
            if scope.month:
                self.log.info("%s", month_text(context, scope.month))
            return self.run(context, scope)

    def announce(self, outcome: str) -> None:
        """Log the task's outcome in one line; `make run` shows these lines and no others."""
        self.log.info("%s %s: %s", DONE, self.task_id, outcome)

    def announce_progress(self, text: str) -> None:
        """Log how far a long task has come."""
        self.log.info("%s %s: %s", PROGRESS, self.task_id, text)

    def show_progress(self, context: Context, record: Mapping[str, Any]) -> None:
        """Log the progress, and keep it for the task's page; a page is no reason to lose a run."""
        self.announce_progress(f"{record['stage']}: {record['text']}")
        try:
            context["task_state_store"].set("progress", dict(record))
        except Exception as error:
            self.log.warning("The progress is not on the task's page: %s", error)

    def run(self, context: Context, scope: RunScope) -> Any:
        """Do the work and return a small XCom value."""
        raise NotImplementedError

    @property
    def settings(self) -> Settings:
        """The deployment's settings, read at run time, never at parse time."""
        return get_settings()
