"""What every operator does: find the run's month, and turn errors into retries or final failures."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from airflow.utils.types import DagRunType
from confidential_spark.agent.errors import AgentError, ExitCode
from confidential_spark.core.errors import ConfidentialSparkError, InputError
from confidential_spark.core.months import Month
from confidential_spark.jobs.nytaxi import NYTAXI
from confidential_spark.jobs.sparkpi import SPARKPI
from confidential_spark.operators.base import airflow_failures, month_text, run_month, run_scope
from confidential_spark.operators.outcomes.links import RunbookLink

RUN_AFTER = datetime(2026, 3, 7, tzinfo=UTC)
PARAMS = {"month": None, "input": None, "publish": True}


def make_context(
    interval: datetime | None = None,
    conf: dict[str, Any] | None = None,
    *,
    end: datetime | None = None,
    run_type: DagRunType = DagRunType.MANUAL,
    logical_date: datetime | None = None,
) -> Any:
    return {
        "ti": SimpleNamespace(dag_id="nytaxi_local", run_id="manual__1", try_number=2),
        "dag": SimpleNamespace(params=PARAMS),
        "params": {**PARAMS, **(conf or {})},
        "data_interval_start": interval,
        "data_interval_end": end,
        "dag_run": SimpleNamespace(
            run_after=RUN_AFTER, conf=conf, run_type=run_type, logical_date=logical_date or interval
        ),
    }


FEBRUARY = datetime(2026, 2, 1, tzinfo=UTC)
MAY = datetime(2018, 5, 1, tzinfo=UTC)
JUNE = datetime(2018, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("context", "month"),
    [
        pytest.param(make_context(None, {"month": "2011-02"}), "2011-02", id="param"),
        pytest.param(make_context(MAY, {"month": "2018-05"}), "2018-05", id="param-and-its-interval"),
        pytest.param(make_context(FEBRUARY, {"month": "2011-02"}), "2011-02", id="param-at-the-present-time"),
        pytest.param(make_context(MAY, end=JUNE), "2018-05", id="data-interval"),
        pytest.param(
            make_context(MAY, end=JUNE, run_type=DagRunType.BACKFILL_JOB), "2018-05", id="back-fill"
        ),
        pytest.param(
            make_context(datetime(2018, 5, 31, 22, tzinfo=timezone(timedelta(hours=-4)))), "2018-06", id="utc"
        ),
        pytest.param(make_context(), "2026-02", id="last-complete-month"),
        pytest.param(make_context(None, {"month": ""}), "2026-02", id="empty-is-none"),
    ],
)
def test_a_run_has_one_month(context, month: str) -> None:
    assert run_month(context) == Month.parse(month)


@pytest.mark.parametrize(
    ("written", "taken"),
    [
        pytest.param("1000", "1000", id="as-usual"),
        pytest.param("1000.0", "1000", id="with-a-point"),
        pytest.param("1e3", "1000", id="with-an-exponent"),
        pytest.param("true", "True", id="no-number"),
        pytest.param("null", "None", id="nothing"),
    ],
)
def test_a_whole_number_is_one_however_json_writes_it(written: str, taken: str) -> None:
    context = make_context(MAY, json.loads(f'{{"publish": {written}}}'))
    assert str(run_scope(context, NYTAXI).options["publish"]) == taken


@pytest.mark.parametrize(
    ("context", "code"),
    [
        pytest.param(make_context(conf={"month": "2018-5"}), "month-malformed", id="malformed"),
        pytest.param(make_context(conf={"month": "2098-01"}), "month-not-over", id="not-over"),
        pytest.param(make_context(conf={"mont": "2018-05"}), "param-unknown", id="misspelt"),
        pytest.param(
            make_context(datetime(2008, 12, 1, tzinfo=UTC)), "month-malformed", id="before-the-records"
        ),
        pytest.param(
            make_context(datetime(2098, 1, 1, tzinfo=UTC)), "month-not-over", id="interval-not-over"
        ),
        pytest.param(
            make_context(MAY, end=datetime(2018, 8, 1, tzinfo=UTC)), "interval-not-a-month", id="three-months"
        ),
        pytest.param(
            make_context(datetime(2018, 5, 15, tzinfo=UTC), end=datetime(2018, 6, 15, tzinfo=UTC)),
            "interval-not-a-month",
            id="half-and-half",
        ),
        pytest.param(
            make_context(MAY, {"month": "2018-06"}, run_type=DagRunType.BACKFILL_JOB),
            "month-contradicts-interval",
            id="back-fill",
        ),
        pytest.param(
            make_context(FEBRUARY, {"month": "2018-06"}, run_type=DagRunType.SCHEDULED),
            "month-contradicts-interval",
            id="scheduled",
        ),
        pytest.param(
            make_context(MAY, {"month": "2018-06"}, logical_date=JUNE),
            "month-contradicts-interval",
            id="logical-date",
        ),
    ],
)
def test_refuses_a_month_it_cannot_run(context, code: str) -> None:
    with pytest.raises(InputError) as refusal:
        run_scope(context, NYTAXI)
    assert refusal.value.code == code
    assert not refusal.value.retryable


def test_a_refused_month_says_how_the_run_was_started() -> None:
    with pytest.raises(InputError, match=r"month 2018-06 in a backfill run, whose data interval is 2018-05"):
        run_month(make_context(MAY, {"month": "2018-06"}, run_type=DagRunType.BACKFILL_JOB))


@pytest.mark.parametrize(
    ("context", "why"),
    [
        pytest.param(make_context(conf={"month": "2018-05"}), "as the Param `month` says", id="param"),
        pytest.param(make_context(), "the last complete one", id="neither"),
        pytest.param(
            make_context(MAY, run_type=DagRunType.SCHEDULED), "the run's data interval", id="scheduled"
        ),
        pytest.param(
            make_context(MAY, logical_date=datetime(2018, 6, 15, tzinfo=UTC)),
            "the last that was over at the run's logical date 2018-06-15",
            id="logical-date",
        ),
    ],
)
def test_the_log_says_why_it_is_this_month(context, why) -> None:
    month = run_month(context)
    assert month_text(context, month).startswith(f"Month {month}, {why}")


def test_a_misspelt_param_is_named_with_the_right_ones() -> None:
    with pytest.raises(InputError, match="got: mont · expected: month, input, publish"):
        run_scope(make_context(conf={"mont": "2018-05"}), NYTAXI)


def test_the_scope_names_the_run_and_what_it_is_filed_under() -> None:
    scope = run_scope(make_context(conf={"month": "2018-05"}), NYTAXI)
    assert scope.run_id == "nytaxi_local/manual__1"
    assert scope.try_number == 2
    assert scope.publication_key(NYTAXI) == "month=2018-05"


def test_a_job_without_months_is_filed_under_its_run() -> None:
    scope = run_scope(make_context(), SPARKPI)
    assert scope.month is None
    assert re.fullmatch(r"run=manual__1-[0-9a-f]{8}", scope.publication_key(SPARKPI))


class FakeTask:
    """The task instance's edge: its name, and where it leaves XComs."""

    task_id = "run_spark"

    def __init__(self) -> None:
        self.xcoms: dict[str, object] = {}

    def xcom_push(self, key: str, value: object) -> None:
        self.xcoms[key] = value


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        pytest.param(
            ConfidentialSparkError("away", code="x", retryable=True), AirflowException, id="transient"
        ),
        pytest.param(ConfidentialSparkError("wrong", code="x"), AirflowFailException, id="final"),
        pytest.param(
            AgentError("bad", exit_code=ExitCode.BAD_LAUNCH, code="x"), AirflowFailException, id="agent"
        ),
    ],
)
def test_retries_only_what_a_retry_can_help(error, raised, caplog) -> None:
    task = FakeTask()
    with pytest.raises(raised) as failure, airflow_failures(logging.getLogger("task"), task):
        raise error
    assert type(failure.value) is raised
    assert str(failure.value) == str(error)
    assert failure.value.__cause__ is None
    assert f"✘ run_spark: {error}" in caplog.text
    assert task.xcoms == {"failure": str(error)}
    assert RunbookLink().get_link(task, ti_key=None).endswith("/runbooks/x")


def test_a_named_failure_is_told_part_by_part(caplog) -> None:
    error = InputError("Bad.", code="input-template", got="x · y", expected="z", action="mend it")
    with pytest.raises(AirflowFailException), airflow_failures(logging.getLogger("task"), FakeTask()):
        raise error
    _, *lines = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert [line.split(maxsplit=1) for line in lines] == [
        ["code:", "input-template"],
        ["what:", "Bad."],
        ["got:", "x · y"],
        ["expected:", "z"],
        ["do:", "mend it"],
        ["runbook:", "docs/runbooks/spark.resolve_input.md"],
    ]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        pytest.param(KeyError("a defect"), "✘ run_spark: KeyError: 'a defect'", id="defect"),
        pytest.param(
            OSError(30, "Read-only file system", "/results"),
            "✘ run_spark: OSError: [Errno 30] Read-only file system: '/results'",
            id="file-system",
        ),
    ],
)
def test_an_error_without_a_name_stays_what_it_is_and_is_told(error, line: str, caplog) -> None:
    with pytest.raises(type(error)) as failure, airflow_failures(logging.getLogger("task"), FakeTask()):
        raise error
    assert failure.value is error
    assert line in caplog.text


def test_what_airflow_itself_raises_is_no_failure(caplog) -> None:
    with pytest.raises(AirflowSkipException), airflow_failures(logging.getLogger("task"), FakeTask()):
        raise AirflowSkipException("nothing to do")
    assert "✘" not in caplog.text
