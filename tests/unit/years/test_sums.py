"""What is added up of twelve months, and that nothing else is taken for a number."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest
from confidential_spark.core.errors import ResultError
from confidential_spark.jobs import JOBS
from confidential_spark.jobs.rollup.making import make_year
from confidential_spark.jobs.rollup.rollup import ROLLUPS
from confidential_spark.verification import Outcome
from confidential_spark.years.sums import YEARS, add_up
from confidential_spark.years.verify import verify_year

from tests.support.factories.changes import put
from tests.support.factories.years import MONTHS, YEAR, acceptance, summary_of, write_files
from tests.unit.ui.conftest import POLICY_FILE, signed, with_checks, with_identity

DEMAND = "nytaxi_demand_local"


def summaries(**changes):
    """Return twelve months; ``m05=change`` changes May."""
    months = {month: summary_of(month, trips=100) for month in MONTHS}
    for name, change in changes.items():
        month = f"{YEAR}-{name[1:]}"
        months[month] = change(months[month])
    return months


def test_every_declared_number_is_added_and_nothing_else_is_there():
    found = add_up("nytaxi", YEAR, summaries())
    assert found["rows"] == {"input": 12 * 103, "accepted": 1200, "rejected": 36}
    assert found["totals"]["trips"] == 1200
    assert not {"tip_share", "speed_mph"} & found["totals"].keys()
    assert found["months"]["2018-05"] == {each: n // 12 for each, n in found["totals"].items()}
    assert found["options"] == {"outlier_cap_cents": 100_000}


def test_a_rule_that_a_month_does_not_have_counts_none_there():
    later = {"name": "late", "action": "count", "rows": 7}
    found = add_up("nytaxi", YEAR, summaries(m05=lambda m: m | {"rules": [*m["rules"], later]}))
    assert found["rules"][-1] == later


def demand_month(month):
    """Return the files of a month of `nytaxi_demand`."""
    summary = {
        "v": 1,
        "job": "nytaxi_demand",
        "month": month,
        "rows": {"input": 12, "accepted": 10, "rejected": 2},
        "totals": {
            **{"trips": 10, "trips_without_zone": 3, "trips_in_unknown_zone": 1, "zones": 5},
            **{"busiest_day": 17, "busiest_day_trips": 4},
        },
        "options": {"outlier_cap_cents": 100_000},
    }
    content = json.dumps(summary).encode()
    digests = (("summary.json", sha256(content).hexdigest()),)
    evidence = signed(DEMAND, month, f"manual__{month}", digests)
    report = with_identity(with_checks(), DEMAND, month, f"manual__{month}")
    return {"summary.json": content, "evidence.json": evidence, "report.json": json.dumps(report).encode()}


def test_a_year_of_demand_has_what_can_be_added_and_verifies(tmp_path):
    for month in MONTHS:
        write_files(tmp_path / "months" / month, demand_month(month))
    made = make_year(tmp_path, YEAR, "nytaxi_demand", acceptance(POLICY_FILE), run_id="r", versions={})
    assert made.summary["totals"] == {"trips": 120, "trips_without_zone": 36, "trips_in_unknown_zone": 12}
    assert made.summary.keys() == {"v", "job", "year", "rows", "totals", "months", "options"}
    report = verify_year(tmp_path, acceptance(POLICY_FILE), expected=("nytaxi_demand", YEAR))
    assert report.outcome is Outcome.VERIFIED, report.text()
    refused = verify_year(tmp_path, acceptance(POLICY_FILE), expected=("nytaxi", YEAR))
    assert refused.failure.code == "year-statement"


@pytest.mark.parametrize("job", YEARS)
def test_who_declares_years_is_a_monthly_job(job):
    assert JOBS[job].monthly
    assert ROLLUPS[job].job is JOBS[job]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(put("totals/trips", 1.0), "totals.trips: 1.0", id="a-fraction"),
        pytest.param(put("totals/trips", True), "totals.trips: True", id="true"),
        pytest.param(put("totals/trips", "1"), "totals.trips: '1'", id="text"),
        pytest.param(put("totals", []), "totals.trips: None", id="no-totals"),
        pytest.param(put("rows/rejected", None), "rows.rejected: None", id="no-rows"),
        pytest.param(put("month", "2018-06"), "2018-06", id="another-month"),
        pytest.param(put("job", "nytaxi_demand"), "nytaxi_demand", id="another-job"),
        pytest.param(put("rules", None), "no list of rules", id="no-rules"),
        pytest.param(put("rules/0/first", 0.5), "first of fare_negative", id="half-a-row"),
    ],
)
def test_anything_else_is_refused_by_the_name_of_its_month(change, said):
    with pytest.raises(ResultError, match="summary-schema") as refused:
        add_up("nytaxi", YEAR, summaries(m05=change))
    assert refused.value.got.startswith("2018-05: ")
    assert said in refused.value.got
