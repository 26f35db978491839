"""What is added up of twelve months, and that nothing else is taken for a number."""

from __future__ import annotations

import pytest
from confidential_spark.core.errors import ResultError
from confidential_spark.years.sums import add_up

from tests.support.factories.changes import put
from tests.support.factories.years import MONTHS, YEAR, summary_of


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
