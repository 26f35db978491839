"""A run of a filling of gaps begins unless an earlier one of the same filling has failed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowSkipException
from confidential_spark.core.errors import InputError
from confidential_spark.core.stages import FILL_KEY, fill_run_id
from confidential_spark.operators.outcomes.filling import IDS_AT_ONCE, skip_after_failure

FILL = "20261129T101500Z"


class Runs:
    """Airflow's answer to a task that counts runs."""

    def __init__(self, failed):
        self.failed = {fill_run_id(FILL, month) for month in failed}
        self.asked = []

    def get_dr_count(self, *, dag_id, run_ids, states):
        assert (dag_id, states) == ("nytaxi_local", ["failed"])
        self.asked.append(len(run_ids))
        return len(self.failed.intersection(run_ids))


def context(month, months, *, failed=(), fill=None, stop=True):
    conf = {"month": month, FILL_KEY: fill or {"id": FILL, "stop": stop, "months": months}}
    run = SimpleNamespace(conf=conf, run_id=fill_run_id(FILL, month), dag_id="nytaxi_local")
    return {"dag_run": run, "ti": Runs(failed)}


MONTHS = ["2018-03", "2018-05", "2018-06"]


@pytest.mark.parametrize(
    ("month", "failed", "stop", "starts"),
    [
        pytest.param("2018-03", (), True, True, id="the-first"),
        pytest.param("2018-06", (), True, True, id="none-failed"),
        pytest.param("2018-06", ("2018-03",), True, False, id="one-failed"),
        pytest.param("2018-03", ("2018-05",), True, True, id="a-later-one-failed"),
        pytest.param("2018-05", ("2018-05",), True, True, id="itself-failed-before"),
        pytest.param("2018-06", ("2018-03",), False, True, id="it-does-not-stop"),
    ],
)
def test_when_a_run_begins(month, failed, stop, starts):
    asked = context(month, MONTHS, failed=failed, stop=stop)
    if starts:
        skip_after_failure(asked)
    else:
        with pytest.raises(AirflowSkipException, match="not started: 1 earlier of the same filling failed"):
            skip_after_failure(asked)


def test_no_address_is_longer_than_proxies_take():
    months = [f"{year}-{number:02d}" for year in range(2009, 2027) for number in range(1, 13)]
    asked = context("2026-12", months, failed=["2009-01"])
    with pytest.raises(AirflowSkipException):
        skip_after_failure(asked)
    assert max(asked["ti"].asked) == IDS_AT_ONCE
    assert sum(asked["ti"].asked) == len(months) - 1


def test_other_runs_are_not_asked_about():
    run = SimpleNamespace(conf=None, run_id="manual__1", dag_id="nytaxi_local")
    skip_after_failure({"dag_run": run, "ti": None})


@pytest.mark.parametrize(
    "fill",
    [
        pytest.param("x", id="text"),
        pytest.param({"id": FILL, "stop": True}, id="no-months"),
        pytest.param({"id": FILL, "stop": "yes", "months": []}, id="stop-is-text"),
        pytest.param({"id": 3, "stop": True, "months": []}, id="id-is-a-number"),
        pytest.param({"id": FILL, "stop": True, "months": ["2018-13"]}, id="no-month"),
        pytest.param({"id": FILL, "stop": True, "months": ["2018-01"] * 241}, id="too-many"),
    ],
)
def test_a_malformed_filling_is_refused(fill):
    with pytest.raises(InputError, match=r"fill-malformed|month-malformed"):
        skip_after_failure(context("2018-03", [], fill=fill))
