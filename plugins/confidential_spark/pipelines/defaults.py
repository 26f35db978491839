"""What the DAG files share: names, tags, limits and trigger-form fields."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

import pendulum
from airflow.sdk import CronDataIntervalTimetable, ExceptionRetryPolicy, Param, RetryAction, RetryRule
from airflow.sdk.exceptions import AirflowTaskTimeout

from confidential_spark.core.months import MONTH_PATTERN
from confidential_spark.core.platforms import Platform
from confidential_spark.platforms.kubernetes.settings import kubernetes_settings
from confidential_spark.settings import get_settings

OWNER = "confidential-spark"
FIRST_MONTH = pendulum.datetime(2009, 1, 1, tz="UTC")
MONTHLY = CronDataIntervalTimetable("0 0 1 * *", timezone="UTC")
INPUT_PATTERN = r"^file://\S+$"


def spark_timeout() -> timedelta:
    """Return how long one try of a Spark job may take."""
    return timedelta(minutes=get_settings().spark_timeout_minutes)


def start_timeout(platform: Platform) -> timedelta:
    """Return how long a short task may take that starts something on ``platform``.

    A pod may have to wait for a node: why it does not start must be told before Airflow's own limit ends the
    task without any reason.
    """
    if platform is not Platform.AKS:
        return TASK_TIMEOUT
    return timedelta(minutes=kubernetes_settings().start_minutes) + TASK_TIMEOUT


def run_timeout() -> timedelta:
    """Return how long a run may take, every retry of its Spark job included."""
    return (RETRIES + 1) * spark_timeout() + REST_OF_RUN


class Tag(StrEnum):
    """The only tags a DAG may carry; a test enforces it."""

    NYTAXI = "job/nytaxi"
    SPARKPI = "job/sparkpi"
    PLATFORM = "area/platform"
    SIMULATED = "trust/simulated"
    HARDWARE = "trust/hardware"


def trust_tag(platform: Platform) -> Tag:
    """Return the tag for the best trust level ``platform`` can reach."""
    return Tag.SIMULATED if platform is Platform.LOCAL else Tag.HARDWARE


def enclave_pool(platform: Platform) -> str:
    """Return the pool whose slots are the jobs in enclaves that a platform may run at once."""
    return f"enclave_{platform}"


def attestation_pool(platform: Platform) -> str:
    """Return the pool of the task that starts an enclave to attest: on a cluster it takes a job's place."""
    return enclave_pool(platform) if platform is Platform.AKS else DEFAULT_POOL


DEFAULT_POOL = "default_pool"
RETRIES = 2
TASK_TIMEOUT = timedelta(minutes=15)
REST_OF_RUN = timedelta(hours=1)
DEFECTS: list[type[BaseException] | str] = [
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    TypeError,
    ValueError,
]
# This project's own errors say themselves whether a retry can help; a defect in code never heals by itself.
RETRY_POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule(
            exception=DEFECTS,
            action=RetryAction.FAIL,
            reason="a defect in the code: a retry cannot help",
        ),
        RetryRule(
            exception=AirflowTaskTimeout,
            action=RetryAction.FAIL,
            reason="it would take too long again: raise the limit, or find out what is slow",
        ),
    ]
)
DEFAULT_ARGS: dict[str, object] = {
    "owner": OWNER,
    "retries": RETRIES,
    "retry_policy": RETRY_POLICY,
    "retry_delay": timedelta(seconds=10),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=10),
    "execution_timeout": TASK_TIMEOUT,
}


def month_param() -> Param:
    """Return the trigger form's month field."""
    return Param(
        None,
        type=["null", "string"],
        pattern=MONTH_PATTERN,
        title="Month",
        section="Run",
        description_md="`YYYY-MM` from 2009-01 on, e.g. `2018-05`. Leave empty for the run's data interval.",
    )


def input_param() -> Param:
    """Return the trigger form's input field."""
    return Param(
        None,
        type=["null", "string"],
        pattern=INPUT_PATTERN,
        title="Input location",
        section="Run",
        description_md="A URI such as `file:///data/yellow`, or a template with `{year}` and `{month}`. "
        "Leave empty for the deployment's setting.",
    )


def publish_param() -> Param:
    """Return the trigger form's publish switch."""
    return Param(
        True,
        type="boolean",
        title="Publish",
        section="Run",
        description_md="Off: everything runs and is checked, nothing is published.",
    )


def outlier_cap_param() -> Param:
    """Return the trigger form's outlier cap."""
    return Param(
        1000,
        type="integer",
        minimum=1,
        maximum=1_000_000,
        title="Outlier cap (US dollars)",
        section="NYTaxi",
        description_md="A trip whose fare, tip or total is above this is counted and left out of the "
        "sums. One fare of $429,490.20 (2018-08) moves a yearly mean by itself.",
    )


def partitions_param() -> Param:
    """Return the trigger form's number of SparkPi partitions."""
    return Param(
        4,
        type="integer",
        minimum=1,
        maximum=1000,
        title="Partitions",
        section="SparkPi",
        description_md="Each partition draws 200,000 points.",
    )
