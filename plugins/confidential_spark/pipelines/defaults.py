"""What the DAG files share: names, tags, limits and retries."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

import pendulum
from airflow.sdk import CronDataIntervalTimetable, RetryAction, RetryRule, WeightRule
from airflow.sdk.exceptions import AirflowTaskTimeout

from confidential_spark.core.platforms import Platform
from confidential_spark.operators.outcomes.retries import FIRST_DELAY, OwnFaultsPolicy
from confidential_spark.platforms.kubernetes.settings import kubernetes_settings
from confidential_spark.settings import get_settings

if TYPE_CHECKING:
    from confidential_spark.jobs.job import SparkJob

OWNER = "confidential-spark"
FIRST_MONTH = pendulum.datetime(2009, 1, 1, tz="UTC")
MONTHLY = CronDataIntervalTimetable("0 0 1 * *", timezone="UTC")


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
    """The only tags a DAG may carry besides its job's; a test enforces it."""

    PLATFORM = "area/platform"
    SIMULATED = "trust/simulated"
    HARDWARE = "trust/hardware"


def job_tag(job: SparkJob) -> str:
    """Return the tag of a job's DAGs."""
    return f"job/{job.name}"


def trust_tag(platform: Platform) -> Tag:
    """Return the tag for the best trust level ``platform`` can reach."""
    return Tag.SIMULATED if platform is Platform.LOCAL else Tag.HARDWARE


def enclave_pool(platform: Platform) -> str:
    """Return the pool whose slots are the jobs in enclaves that a platform may run at once."""
    return platform.enclave_pool


def attestation_pool(platform: Platform) -> str:
    """Return the pool of the task that starts an enclave to attest: on a cluster it takes a job's place."""
    return enclave_pool(platform) if platform is Platform.AKS else DEFAULT_POOL


DEFAULT_POOL = "default_pool"
RETRIES = 2
# Interruptions by Airflow itself, such as restarts, which no fault of the task's own may use up.
INTERRUPTIONS = 10
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
RETRY_POLICY = OwnFaultsPolicy(
    RETRIES,
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
    ],
)
DEFAULT_ARGS: dict[str, object] = {
    "owner": OWNER,
    "retries": RETRIES + INTERRUPTIONS,
    "retry_policy": RETRY_POLICY,
    # After an interruption; after a fault the policy waits longer each time.
    "retry_delay": FIRST_DELAY,
    "execution_timeout": TASK_TIMEOUT,
    # Runs that have begun go first: Airflow's own rule would do the early tasks of every run of a back-fill
    # before it starts the first of them in an enclave, whose pool is empty meanwhile.
    "weight_rule": WeightRule.UPSTREAM,
}
