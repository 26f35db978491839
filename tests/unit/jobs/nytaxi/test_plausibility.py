import math

import pytest
from confidential_spark.jobs.nytaxi.plausibility import robust_z_score
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("value", "history", "expected"),
    [
        pytest.param(100, [90, 95, 100, 105, 110], 0, id="median"),
        pytest.param(107.413, [90, 95, 100, 105, 110], 1, id="one-deviation"),
        pytest.param(110, [100, 100, 100, 100], 5, id="no-spread-counts-as-two-percent"),
        pytest.param(3, [0, 0, 0], 3, id="zeros"),
        pytest.param(101, [99, 101, 100, 99, 1_000_000], 0.5, id="one-outlier-changes-little"),
    ],
)
def test_robust_z_score(value, history, expected):
    assert robust_z_score(value, history) == pytest.approx(expected, abs=1e-9)


@given(st.floats(-1e12, 1e12), st.lists(st.floats(0, 1e12), min_size=1, max_size=12))
def test_is_finite_and_has_the_sign_of_the_difference(value, history):
    score = robust_z_score(value, history)
    assert math.isfinite(score)
    assert robust_z_score(value + 1e9, history) > score
