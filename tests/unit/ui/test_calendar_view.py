from __future__ import annotations

from confidential_spark.core.months import Month
from confidential_spark.ui.calendar_view import calendar, month_of
from hypothesis import given
from hypothesis import strategies as st


def test_years_with_a_published_month_have_all_their_months_and_empty_years_are_left_out():
    years = calendar({"month=2018-12": 10, "month=2026-10": 7, "month=2016-01": 5, "run=x": None})

    assert [year.year for year in years] == [2016, 2018, 2026]
    assert all(len(year.cells) == 12 for year in years)
    assert [str(c.month) for y in years for c in y.cells if c.key] == [
        "2016-01",
        "2018-12",
        "2026-10",
    ]


def test_shades_grow_with_the_rows_and_published_is_never_blank():
    (year,) = calendar(
        {"month=2018-01": 1, "month=2018-02": 500, "month=2018-03": 1000, "month=2018-04": None}
    )

    assert [cell.shade for cell in year.cells[:5]] == [1, 3, 5, 1, 0]


def test_nothing_published_is_an_empty_calendar():
    assert calendar({}) == calendar({"run=manual": None, "month=2018-13": 1}) == ()


@given(st.text(max_size=30))
def test_any_key_names_a_month_or_none(key):
    month = month_of(key)
    assert month is None or (isinstance(month, Month) and key == f"month={month}")
