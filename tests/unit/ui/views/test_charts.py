from __future__ import annotations

from confidential_spark.ui.views.charts import BAR_WIDTH, bar_chart
from hypothesis import given
from hypothesis import strategies as st


def test_the_largest_bar_fills_the_width_and_the_rest_is_in_proportion():
    chart = bar_chart("c", "Title", "trips", [("a", 50, "50"), ("b", 100, "100"), ("c", 0, "0")])

    assert [bar.length for bar in chart.bars] == [BAR_WIDTH / 2, BAR_WIDTH, 0]
    assert len({bar.y for bar in chart.bars}) == 3


@given(st.lists(st.integers(-(2**70), 2**70), max_size=30))
def test_bars_stay_inside_the_drawing(values):
    chart = bar_chart("c", "t", "u", [("", value, "") for value in values])

    assert all(0 <= bar.length <= BAR_WIDTH for bar in chart.bars)
    assert all(bar.y + chart.bar_height <= chart.height for bar in chart.bars)
