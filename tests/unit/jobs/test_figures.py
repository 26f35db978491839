import pytest
from confidential_spark.jobs.figures import Figure, dollars
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("summary", "value"),
    [
        pytest.param({"totals": {"trips": 4}}, 4, id="there"),
        pytest.param({"totals": {"trips": True}}, None, id="true-is-no-number"),
        pytest.param({"totals": {"trips": 4.0}}, None, id="another-kind"),
        pytest.param({"totals": 4}, None, id="no-object"),
        pytest.param({}, None, id="missing"),
    ],
)
def test_a_figure_is_a_member_of_the_right_kind(summary, value):
    assert Figure("Trips", "totals.trips").value(summary) == value


def test_a_figure_is_named_after_its_member():
    assert Figure("Revenue", "totals.revenue_cents", dollars).name == "revenue_cents"


@pytest.mark.parametrize(
    ("cents", "text"),
    [
        (0, "$0.00"),
        (5, "$0.05"),
        (123_456_789, "$1,234,567.89"),
        (-150, "-$1.50"),
        (10**17 + 1, "$1,000,000,000,000,000.01"),
    ],
)
def test_dollars(cents, text):
    assert dollars(cents) == text


@given(st.integers())
def test_dollars_are_exact(cents):
    assert int(dollars(cents).translate(str.maketrans("", "", "$,."))) == cents
