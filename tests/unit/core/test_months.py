"""A month's form."""

import pytest
from confidential_spark.core.errors import InputError
from confidential_spark.core.months import Month


@pytest.mark.parametrize("text", ["2008-12", "2100-01", "2018-13", "2018-5", "２０１８-05", "2018-05\n", ""])
def test_what_is_refused_is_told_both_bounds(text):
    with pytest.raises(InputError, match=r"month-malformed.*from 2009-01 to 2099-12"):
        Month.parse(text)


@pytest.mark.parametrize("text", ["2009-01", "2099-12"])
def test_the_bounds_are_months(text):
    assert str(Month.parse(text)) == text
