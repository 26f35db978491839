from __future__ import annotations

from datetime import date

from confidential_spark.core.months import Month
from confidential_spark.ui.room.matrix import matrix
from confidential_spark.ui.views.calendar_view import CellState, MonthLine, calendar, month_of
from hypothesis import given
from hypothesis import strategies as st

TODAY = date(2026, 11, 28)


def passed(rows: int | None = None) -> MonthLine:
    return MonthLine(CellState.PASSED, key="month", rows=rows)


def test_every_year_from_the_first_to_the_last_has_a_row_with_all_its_months():
    months = (Month(2018, 12), Month(2026, 10), Month(2016, 1))
    years = calendar(dict.fromkeys(months, passed()), TODAY)

    assert [year.year for year in years] == list(range(2016, 2027))
    assert all(len(year.cells) == 12 for year in years)
    assert {cell.line.state for cell in years[1].cells} == {CellState.MISSING}
    assert [str(c.month) for y in years for c in y.cells if c.line.key] == ["2016-01", "2018-12", "2026-10"]


def test_a_month_of_a_year_to_come_brings_no_years_before_it():
    lines = {Month(2025, 1): passed(), Month(2099, 1): passed()}
    assert [year.year for year in calendar(lines, TODAY)] == [2025, 2026, 2099]
    assert [year.year for year in matrix(lines, {}, today=TODAY).years] == [2025, 2026, 2099]


def test_a_month_that_is_not_over_is_not_missing():
    (year,) = calendar({Month(2026, 3): passed()}, TODAY)

    assert [cell.line.state.name for cell in year.cells[8:]] == ["MISSING", "MISSING", "NOT_OVER", "NOT_OVER"]


def test_shades_grow_with_the_rows_and_passed_is_never_blank():
    rows = {1: 1, 2: 500, 3: 1000, 4: None}
    (year,) = calendar({Month(2018, number): passed(count) for number, count in rows.items()}, TODAY)

    assert [cell.shade for cell in year.cells[:5]] == [1, 3, 5, 1, 0]


def test_only_what_passed_is_shaded():
    (year,) = calendar({Month(2018, 1): MonthLine(CellState.WARNED, rows=9)}, TODAY)

    assert year.cells[0].shade == 0


def test_no_two_states_share_a_sign_a_word_or_a_style():
    for values in zip(*((state.sign, state.word, state.css) for state in CellState), strict=True):
        assert len(set(values)) == len(CellState)


def test_a_cell_says_in_words_what_it_shows():
    line = MonthLine(CellState.WARNED, "VERIFIED 13/13", rows=9974)
    (year,) = calendar({Month(2018, 5): line}, TODAY)

    assert year.cells[4].label == "2018-05, passed with warnings, VERIFIED 13/13, 9,974 rows"
    assert year.cells[5].label == "2018-06, missing"


def test_no_month_is_an_empty_calendar():
    assert calendar({}) == ()


@given(st.text(max_size=30))
def test_any_key_names_a_month_or_none(key):
    month = month_of(key)
    assert month is None or (isinstance(month, Month) and key == f"month={month}")
