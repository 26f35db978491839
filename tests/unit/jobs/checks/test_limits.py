import pytest
import yaml
from confidential_spark.core.errors import ConfigurationError
from confidential_spark.core.months import Month
from confidential_spark.jobs import JOBS
from confidential_spark.jobs.checks.limits import load_limits
from confidential_spark.jobs.nytaxi.month_limits import NytaxiLimits
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.jobs.month_under_test import CHECKS

SHIPPED = yaml.safe_load((CHECKS / "nytaxi.yaml").read_text())


def usual(**limits) -> dict:
    return {"usual": SHIPPED["usual"] | limits}


def era(**members) -> dict:
    return {"eras": [{"since": "2018-01", "because": "a test", "limits": {"max_zone_share": 0.2}} | members]}


def test_the_change_of_these_tests_is_what_makes_a_file_senseless(tmp_path):
    path = tmp_path / "nytaxi.yaml"
    path.write_text(yaml.safe_dump(SHIPPED | usual() | era()))
    assert load_limits(path, NytaxiLimits).of(Month(2018, 1)).max_zone_share == 0.2


@pytest.mark.parametrize("name", sorted(JOBS))
def test_the_shipped_files_are_valid(name):
    assert load_limits(CHECKS / f"{name}.yaml", JOBS[name].rules().limits).job == name


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"surprise": 1}, id="unknown-key"),
        pytest.param({"job": "other"}, id="unknown-job"),
        pytest.param(usual(max_reject_share=1.01), id="share-over-1"),
        pytest.param(usual(max_reject_share=-0.1), id="negative-share"),
        pytest.param(usual(max_reject_share="0.05"), id="text"),
        pytest.param(usual(max_reject_share=True), id="boolean"),
        pytest.param(usual(max_reject_share=float("nan")), id="nan"),
        pytest.param(usual(max_rule_share={}), id="no-rules"),
        pytest.param(usual(max_rule_share={"no_such_rule": 0.1}), id="unknown-rule"),
        pytest.param(usual(min_vendor_share={"uber": 0.1}), id="unknown-vendor"),
        pytest.param(usual(min_payment_share={"gold": 0.1}), id="unknown-payment"),
        pytest.param(usual(quietest_hours=[24]), id="hour-24"),
        pytest.param(usual(quietest_hours=[]), id="no-hours"),
        pytest.param(usual(trips_by_hour=[1] * 23), id="23-hours"),
        pytest.param(usual(trips_by_hour=[0] * 24), id="no-trips"),
        pytest.param(usual(mean={"weight": [1, 2]}), id="unknown-mean"),
        pytest.param(usual(mean={"speed_mph": [22, 7]}), id="from-more-to-less"),
        pytest.param(usual(mean={"speed_mph": [7]}), id="half-a-range"),
        pytest.param(usual(surprise=1), id="unknown-usual"),
        pytest.param(era(since="2016-13"), id="no-month"),
        pytest.param(era(because=""), id="no-reason"),
        pytest.param(era(limits={}), id="changes-nothing"),
        pytest.param(era(limits={"max_zone_share": 2}), id="era-share-over-1"),
        pytest.param(era(limits={"surprise": 2}), id="era-unknown-limit"),
        pytest.param(era(until="2017-12"), id="ends-before-it-begins"),
        pytest.param({"judged_from": SHIPPED["judged_from"] | {"rows": 0}}, id="no-rows"),
        pytest.param({"judged_from": SHIPPED["judged_from"] | {"days_of_a_month": 29}}, id="29-days"),
        pytest.param({"trailing": {"months": 3, "at_least": 4, "max_z_score": 3.5}}, id="more-than-all"),
        pytest.param({"trailing": {"months": 12, "at_least": 2, "max_z_score": 3.5}}, id="two-months"),
        pytest.param({"trailing": {"months": 12, "at_least": 4, "max_z_score": 0}}, id="no-tolerance"),
        pytest.param({"trailing": None}, id="nothing"),
    ],
)
def test_refuses_senseless_limits(tmp_path, change):
    path = tmp_path / "nytaxi.yaml"
    path.write_text(yaml.safe_dump(SHIPPED | change))
    with pytest.raises(ConfigurationError, match="checks-invalid"):
        load_limits(path, NytaxiLimits)


@pytest.mark.parametrize("key", sorted(SHIPPED))
def test_refuses_missing_limits(tmp_path, key):
    path = tmp_path / "nytaxi.yaml"
    path.write_text(yaml.safe_dump({name: value for name, value in SHIPPED.items() if name != key}))
    with pytest.raises(ConfigurationError, match="checks-invalid"):
        load_limits(path, NytaxiLimits)


@pytest.mark.parametrize(
    "content", [b"job: nytaxi\njob: sparkpi", b"&a [*a]", b"\xff", b"x: [", b"!!python/object:os.system {}"]
)
def test_refuses_what_is_not_plain_yaml(tmp_path, content):
    path = tmp_path / "nytaxi.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="checks-unreadable"):
        load_limits(path, NytaxiLimits)


def test_a_missing_file_is_a_clear_error(tmp_path):
    with pytest.raises(ConfigurationError, match="checks-unreadable"):
        load_limits(tmp_path / "absent.yaml", NytaxiLimits)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_clearly(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("limits") / "any.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="checks-"):
        load_limits(path, NytaxiLimits)
