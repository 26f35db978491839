"""This project's own metrics, through Airflow's; docs/production.md has the table for people.

Airflow counts tasks and times them. These tell what a count of tasks cannot: what was published with which
worth, what was refused and why, and where a run's time goes.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from confidential_spark.core.errors import ConfidentialSparkError, PolicyError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk.types import RuntimeTaskInstanceProtocol

log = logging.getLogger(__name__)

PUBLISHED = "confidential_spark.results.published"
REFUSED = "confidential_spark.results.refused"
STAGE_DURATION = "confidential_spark.stage.duration"
CHECKS_FAILED = "checks-failed"


def count_published(
    dag_id: str, trust: str, *, synthetic: bool, timings: Mapping[str, float] | None = None
) -> None:
    """Count a published result, and tell how long the stages of its run took.

    :param timings: stage → seconds of wall time.
    """
    _emit(PUBLISHED, dag_id=dag_id, trust=trust, synthetic=str(synthetic).lower())
    for stage, seconds in (timings or {}).items():
        _emit(STAGE_DURATION, timedelta(seconds=seconds), dag_id=dag_id, stage=stage)


def count_refusal(error: Exception, ti: RuntimeTaskInstanceProtocol) -> None:
    """Count an error that says that a proof or a figure was refused; others are Airflow's to count."""
    if isinstance(error, ConfidentialSparkError) and is_refusal(error):
        _emit(REFUSED, dag_id=ti.dag_id, task_id=ti.task_id, code=error.code)


def is_refusal(error: ConfidentialSparkError) -> bool:
    """Whether evidence, a policy or a check of results said no."""
    return isinstance(error, VerificationError | PolicyError) or error.code == CHECKS_FAILED


def _emit(name: str, duration: timedelta | None = None, **tags: str) -> None:
    """Hand one on; that metrics cannot be told is no reason to lose a run."""
    # Imported late: DAG files import this module, and need no metrics to be parsed.
    from airflow.sdk.observability import stats

    try:
        if duration is None:
            stats.incr(name, tags=tags)
        else:
            stats.timing(name, duration, tags=tags)
    except Exception as error:
        log.warning("The metric %s is not told: %s", name, error)
