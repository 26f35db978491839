"""A run that fills a gap does not begin after an earlier one of the same filling has failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from confidential_spark.core.errors import InputError
from confidential_spark.core.months import Month
from confidential_spark.core.stages import FILL_KEY, fill_run_id

if TYPE_CHECKING:
    from airflow.sdk import Context

# Ids are in the address of a request, which some proxies limit to 8 kB.
IDS_AT_ONCE = 50
MAX_MONTHS = 240


def skip_after_failure(context: Context) -> None:
    """Skip the run where one before it in its filling has failed; others go on.

    :raises AirflowSkipException: naming how many failed.
    :raises InputError: ``fill-malformed``.
    """
    run = context["dag_run"]
    if (fill := (run.conf or {}).get(FILL_KEY)) is None:
        return
    earlier = earlier_runs(fill, run.run_id)
    ti: Any = context["ti"]
    batches = (earlier[at : at + IDS_AT_ONCE] for at in range(0, len(earlier), IDS_AT_ONCE))
    failed = sum(ti.get_dr_count(dag_id=run.dag_id, run_ids=ids, states=["failed"]) for ids in batches)
    if failed:
        raise AirflowSkipException(
            f"not started: {failed} earlier of the same filling failed; "
            "correct the cause and fill the remaining gaps"
        )


def earlier_runs(fill: Any, run_id: str) -> list[str]:
    """Return the runs before this one in the order of its filling; none where failures do not stop it.

    :param fill: ``{"id": "20261129T101500Z", "stop": true, "months": ["2013-11", …]}``.
    :raises InputError: ``fill-malformed``.
    """
    if not isinstance(fill, dict) or not isinstance(fill.get("id"), str):
        raise _malformed(fill)
    months = fill.get("months")
    if not isinstance(months, list) or len(months) > MAX_MONTHS or not isinstance(fill.get("stop"), bool):
        raise _malformed(fill)
    runs = [fill_run_id(fill["id"], str(Month.parse(month))) for month in months]
    return runs[: runs.index(run_id)] if fill["stop"] and run_id in runs else []


def _malformed(fill: Any) -> InputError:
    return InputError(
        f"The run's `{FILL_KEY}` is malformed.",
        code="fill-malformed",
        got=str(fill)[:200],
        expected='{"id": …, "stop": true or false, "months": [YYYY-MM, …]}',
        action="fill gaps from the control room, or trigger the DAG without it",
    )
