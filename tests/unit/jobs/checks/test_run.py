import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confidential_spark.core.errors import ConfigurationError, ResultError
from confidential_spark.core.months import Month
from confidential_spark.jobs.checks.limits import load_limits
from confidential_spark.jobs.checks.result import CheckResult, Severity, summarise
from confidential_spark.jobs.checks.run import require_passed, run_checks
from confidential_spark.jobs.nytaxi.checks import RULES
from confidential_spark.jobs.nytaxi.month_limits import Era
from confidential_spark.jobs.sparkpi.checks import RULES as PI_RULES
from confidential_spark.jobs.sparkpi.checks import SparkPiLimits
from confidential_spark.simulation.trips.month import write_month
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.fakes.published import PublishedStub
from tests.unit.jobs.month_under_test import CHECKS, MONTH, MonthUnderTest, make_month


@pytest.fixture(scope="module")
def pristine(tmp_path_factory) -> tuple[Path, MonthUnderTest]:
    folder = tmp_path_factory.mktemp("month")
    return folder, make_month(folder)


@pytest.fixture
def month(pristine, tmp_path) -> MonthUnderTest:
    """A fresh copy of the results, over the same input."""
    _, made = pristine
    shutil.copytree(made.results, tmp_path / "results")
    predicate = json.loads(json.dumps(made.predicate))
    return MonthUnderTest(MONTH, tmp_path / "results", made.limits, made.recorded, predicate)


@pytest.fixture
def own_month(tmp_path) -> MonthUnderTest:
    """Results with an input that the test may spoil."""
    return make_month(tmp_path, rows=1_000)


def add(path: tuple, amount: int):
    """Return a change of a summary: ``amount`` more at ``path``."""

    def change(summary: dict) -> None:
        for step in path[:-1]:
            summary = summary[step]
        summary[path[-1]] += amount

    return change


def put(**members):
    return lambda summary: summary.update(members)


def column(name: str, change):
    """Return a change of a table: each value of one column."""

    def apply(table: pa.Table) -> pa.Table:
        values = pa.array([change(n, v) for n, v in enumerate(table[name].to_pylist())], table[name].type)
        return table.set_column(table.column_names.index(name), name, values)

    return apply


def first_more(index: int, value: int) -> int:
    return value + (index == 0)


def test_a_right_month_passes_every_check(month):
    results = month.check()
    assert {name for name, result in results.items() if not result.passed} == set()
    assert {
        "recount_totals",
        "by_hour_sums",
        "input_as_stated",
        "trailing_trips",
        "share_distance_zero",
    } <= set(results)
    require_passed(list(results.values()))


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        pytest.param(put(month="2018-06"), {"month"}, id="other-month"),
        pytest.param(
            put(first_pickup="2018-04-30T23:59:59Z"), {"month_bounds", "recount_bounds"}, id="early"
        ),
        pytest.param(put(last_pickup="2018-06-01T00:00:00Z"), {"month_bounds", "recount_bounds"}, id="late"),
        pytest.param(
            add(("totals", "revenue_cents"), 1),
            {*(f"{name}_sums" for name in ("by_hour", "by_pickup_zone", "by_payment_type"))}
            | {"total_ratios", "recount_totals"},
            id="one-cent",
        ),
        pytest.param(
            add(("totals", "duration_s"), 1),
            {*(f"{name}_sums" for name in ("by_hour", "by_pickup_zone", "by_payment_type"))}
            | {"total_ratios", "recount_totals"},
            id="one-second",
        ),
        pytest.param(add(("all_rows", "tip_cents"), -1), {"recount_all_rows"}, id="all-rows-cent"),
        pytest.param(add(("all_rows", "rows"), 1), {"all_rows_are_input_rows"}, id="all-rows"),
        pytest.param(
            add(("rows", "input"), 1),
            {"rows_accounted", "all_rows_are_input_rows", "statement_rows", "input_rows"},
            id="row",
        ),
        pytest.param(add(("rules", 4, "first"), 1), {"rejections_explained", "recount_rules"}, id="reason"),
        pytest.param(add(("rules", 9, "rows"), 1), {"recount_rules"}, id="quirk"),
        pytest.param(lambda s: s["rules"].reverse(), {"rules_complete"}, id="rule-order"),
        pytest.param(put(options={"outlier_cap_cents": 10}), {"statement_arguments"}, id="other-cap"),
        pytest.param(add(("totals", "tip_share"), 1e-9), {"total_ratios"}, id="ratio"),
    ],
)
def test_a_wrong_summary_fails_its_checks(month, change, failing):
    month.change_summary(change)
    failed = month.failed()
    assert failing <= failed
    if "statement_arguments" not in failing:
        assert failed == failing


@pytest.mark.parametrize("table", ["by_hour", "by_pickup_zone", "by_payment_type"])
@pytest.mark.parametrize(
    "measure", ["trips", "revenue_cents", "fare_cents", "tip_cents", "distance_millimiles", "duration_s"]
)
def test_one_unit_in_a_table_fails_its_sums_and_the_recount(month, table, measure):
    month.change_table(table, column(measure, first_more))
    assert {f"{table}_sums", f"recount_{table}"} <= month.failed()


@pytest.mark.parametrize("table", ["by_hour", "by_pickup_zone", "by_payment_type"])
def test_moving_a_trip_between_groups_fails_the_recount_alone(month, table):
    month.change_table(table, column("trips", lambda n, v: v + (n == 0) - (n == 1)))
    assert month.failed() == {f"recount_{table}"}


@pytest.mark.parametrize(
    ("table", "change", "failing"),
    [
        pytest.param("by_hour", lambda t: t.slice(1), "by_hour_keys", id="hour-missing"),
        pytest.param(
            "by_hour", column("hour", lambda n, v: 0 if n == 1 else v), "by_hour_keys", id="hour-twice"
        ),
        pytest.param("by_hour", lambda t: t.slice(0, 0), "by_hour_schema", id="no-rows"),
        pytest.param(
            "by_pickup_zone", column("zone", lambda n, v: v + 266), "by_pickup_zone_keys", id="zone-266"
        ),
        pytest.param(
            "by_pickup_zone", column("zone", lambda n, v: v - 300), "by_pickup_zone_keys", id="negative-zone"
        ),
        pytest.param(
            "by_pickup_zone", lambda t: t.take(list(range(len(t)))[::-1]), "by_pickup_zone_keys", id="order"
        ),
        pytest.param(
            "by_payment_type",
            column("payment_type", lambda n, v: v.upper()),
            "by_payment_type_keys",
            id="spelling",
        ),
        pytest.param("by_hour", column("speed_mph", lambda n, v: v + 1e-9), "by_hour_ratios", id="speed"),
        pytest.param("by_hour", column("tip_share", lambda n, v: None), "by_hour_ratios", id="no-tip-share"),
        pytest.param("by_hour", column("tip_share", lambda n, v: float("nan")), "by_hour_ratios", id="nan"),
    ],
)
def test_wrong_keys_and_ratios_fail_their_check(month, table, change, failing):
    month.change_table(table, change)
    assert failing in month.failed()


@pytest.mark.parametrize(
    ("change", "got"),
    [
        pytest.param(lambda t: t.drop_columns(["trips"]), "trips is missing", id="column-missing"),
        pytest.param(lambda t: t.append_column("x", t["trips"]), "x is unexpected", id="column-more"),
        pytest.param(lambda t: t.append_column("trips", t["trips"]), "trips occurs twice", id="column-twice"),
        pytest.param(
            lambda t: t.set_column(1, "trips", t["trips"].cast("double")),
            "trips is double instead of int64",
            id="retyped",
        ),
        pytest.param(column("trips", lambda n, v: None), "trips has nulls", id="nulls"),
    ],
)
def test_a_table_of_another_schema_fails_with_its_columns(month, change, got):
    month.change_table("by_hour", change)
    failed = month.check()["by_hour_checkable"]
    assert (failed.passed, failed.severity) == (False, Severity.ERROR)
    assert "table-schema" in failed.detail
    assert got in failed.got


@pytest.mark.parametrize(
    "name", ["summary.json", "by_hour.parquet", "by_pickup_zone.parquet", "by_payment_type.parquet"]
)
@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda path: path.unlink(), id="missing"),
        pytest.param(lambda path: path.write_bytes(b""), id="empty"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-20]), id="truncated"),
        pytest.param(lambda path: path.write_bytes(b"[" * 200_000), id="nested"),
        pytest.param(lambda path: path.write_bytes(b"\xff" * 99), id="garbage"),
        pytest.param(lambda path: (path.unlink(), path.mkdir()), id="folder"),
    ],
)
def test_missing_and_garbled_files_are_failed_checks(month, name, spoil):
    spoil(month.results / name)
    results = month.check()
    assert any(result.blocks for result in results.values())
    with pytest.raises(ResultError, match="checks-failed"):
        require_passed(list(results.values()))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(put(extra=1), id="unknown-member"),
        pytest.param(lambda s: s.pop("totals"), id="no-totals"),
        pytest.param(lambda s: s["totals"].update(trips="9"), id="text-number"),
        pytest.param(lambda s: s["totals"].update(trips=True), id="boolean"),
        pytest.param(lambda s: s["totals"].update(trips=-1), id="negative"),
        pytest.param(lambda s: s["totals"].update(trips=9.0), id="float"),
        pytest.param(lambda s: s["totals"].update(speed_mph=float("nan")), id="nan"),
        pytest.param(put(first_pickup="2018-05-01"), id="date"),
        pytest.param(put(v=2), id="other-version"),
        pytest.param(put(job="sparkpi"), id="other-job"),
    ],
)
def test_a_summary_of_another_shape_is_a_failed_check(month, change):
    month.change_summary(change)
    assert month.check()["summary_checkable"].blocks


def test_impossible_dates_are_a_failed_check(month):
    month.change_summary(put(first_pickup="2018-05-99T00:00:00Z"))
    assert month.check()["month_checkable"].blocks


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        pytest.param(lambda p: p["rows"].update(accepted=1), "statement_rows", id="rows"),
        pytest.param(lambda p: p.update(month="2018-06"), "statement_month", id="month"),
        pytest.param(lambda p: p["job"].update(arguments=[]), "statement_arguments", id="arguments"),
        pytest.param(lambda p: p["inputs"][0].update(sha256="0" * 64), "input_as_stated", id="digest"),
        pytest.param(lambda p: p["inputs"][0].update(bytes=1), "input_as_stated", id="bytes"),
        pytest.param(lambda p: p["inputs"][0].update(uri="file:///x.parquet"), "input_as_stated", id="name"),
        pytest.param(lambda p: p["inputs"].append(p["inputs"][0]), "input_as_stated", id="file-twice"),
        pytest.param(lambda p: p["inputs"].clear(), "input_as_stated", id="no-files"),
        pytest.param(lambda p: p.pop("inputs"), "input_checkable", id="inputs-missing"),
        pytest.param(lambda p: p.pop("job"), "statement_checkable", id="job-missing"),
    ],
)
def test_a_statement_that_says_otherwise_fails(month, change, failing):
    change(month.predicate)
    assert month.failed() == {failing}


def test_an_input_that_changed_since_fails(own_month):
    data = pq.ParquetFile(own_month.data_file).read()
    fares = pa.array([fare + 1 for fare in data["totalAmount"].to_pylist()])
    changed = data.set_column(data.column_names.index("totalAmount"), "totalAmount", fares)
    pq.write_table(changed, own_month.data_file, use_deprecated_int96_timestamps=True)
    assert {"input_unchanged", "input_as_stated", "recount_totals", "recount_by_hour"} <= own_month.failed()


def test_an_input_that_is_gone_fails(own_month):
    own_month.data_file.unlink()
    results = own_month.check()
    assert results["input_checkable"].blocks
    assert "input-empty" in results["input_checkable"].detail
    assert results["recount_checkable"].blocks


def test_shares_above_their_limit_fail(month):
    shares = {"distance_zero": 0.001, "vendor_missing": 0.9}
    usual = month.limits.usual.model_copy(update={"max_reject_share": 0.0001, "max_rule_share": shares})
    month.limits = month.limits.model_copy(update={"usual": usual})
    assert month.failed() == {"reject_share", "share_distance_zero"}


def test_an_era_allows_what_is_unusual_elsewhere(month):
    month.change_summary(
        lambda s: next(r for r in s["rules"] if r["name"] == "pickup_zone_missing").update(rows=3_000)
    )
    assert "share_pickup_zone_missing" in month.failed()
    era = Era(since="2018-05", because="a test", limits={"max_rule_share": {"pickup_zone_missing": 1.0}})
    month.limits = month.limits.model_copy(update={"eras": (era,)})
    assert "share_pickup_zone_missing" not in month.failed()


def history(*trips: int) -> list[dict]:
    return [{"totals": {"trips": count, "revenue_cents": count * 1_500}} for count in trips]


@pytest.mark.parametrize(
    ("trips", "passed", "got"),
    [
        pytest.param((), True, "0 earlier months", id="no-history"),
        pytest.param((2_950, 3_000, 2_900), True, "3 earlier months", id="too-little"),
        pytest.param((2_950, 3_000, 2_900, 3_050), True, "z = ", id="usual"),
        pytest.param((9_000, 9_100, 8_900, 9_050), False, "z = -", id="collapse"),
        pytest.param((300, 310, 290, 305), False, "z = +", id="explosion"),
    ],
)
def test_trips_are_compared_with_the_months_before(month, trips, passed, got):
    month.trailing = history(*trips)
    result = month.check()["trailing_trips"]
    assert (result.severity, result.passed) == (Severity.WARN, passed)
    assert not result.blocks
    assert got in result.got


def test_garbled_history_is_a_failed_check_not_a_crash(month):
    month.trailing = [{"totals": None}] * 9
    assert "trailing_checkable" in month.failed()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_garbled_file_raises(month, data):
    name = data.draw(st.sampled_from(["summary.json", "by_hour.parquet"]))
    path = month.results / name
    original = path.read_bytes()
    content = bytearray(original)
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        results = run_checks(
            RULES,
            month.results,
            limits=month.limits,
            predicate=month.predicate,
            month=MONTH,
            recorded_input=month.recorded,
            published=PublishedStub(),
        )
    finally:
        path.write_bytes(original)
    assert results


def test_a_monthly_job_needs_its_month(month):
    with pytest.raises(ConfigurationError, match="checks-month-missing"):
        run_checks(RULES, month.results, limits=month.limits, predicate={}, published=PublishedStub())


def test_no_checks_at_all_is_a_failure():
    with pytest.raises(ResultError, match="checks-failed"):
        require_passed([])


def test_warnings_do_not_stop_publishing_and_are_named():
    passed = CheckResult("a", Severity.ERROR, True, "1", "1")
    warned = CheckResult("b", Severity.WARN, False, "z = 9", "within ±3")
    require_passed([passed, warned])
    assert summarise([passed, warned]) == "1 of 2 checks passed, 1 warning"
    assert warned.line() == "WARN b: got z = 9 · expected within ±3"
    assert passed.line() == "PASS a: got 1"


PI = {"v": 1, "job": "sparkpi", "samples": 400_000, "inside": 314_159, "pi": 3.14159, "duration_ms": 1}
PI_ROWS = {"input": 400_000, "accepted": 400_000, "rejected": 0}


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        pytest.param({}, set(), id="right"),
        pytest.param({"inside": 314_160}, {"pi_follows"}, id="pi-does-not-follow"),
        pytest.param({"inside": 312_000, "pi": 3.12}, {"pi_error"}, id="far-from-pi"),
        pytest.param({"rows": {**PI_ROWS, "input": 1}}, {"rows_accounted", "statement_rows"}, id="rows"),
        pytest.param(
            {"samples": 0},
            {"summary_checkable", "estimate_checkable", "statement_checkable"},
            id="no-samples",
        ),
        pytest.param(
            {"pi": "3.14"}, {"summary_checkable", "estimate_checkable", "statement_checkable"}, id="text"
        ),
    ],
)
def test_sparkpi(tmp_path, change, failed):
    (tmp_path / "summary.json").write_text(json.dumps({**PI, "rows": PI_ROWS, **change}))
    predicate = {"rows": PI_ROWS, "job": {"arguments": ["--partitions", "2"]}}
    limits = load_limits(CHECKS / "sparkpi.yaml", SparkPiLimits)
    results = run_checks(PI_RULES, tmp_path, limits=limits, predicate=predicate, published=PublishedStub())
    assert {result.name for result in results if not result.passed} == failed


def test_input_of_another_month_is_refused_by_the_checks(tmp_path, month):
    other = write_month(Month(2018, 6), 1_000, tmp_path)
    month.recorded = type(month.recorded)(**{**vars(month.recorded), "uri": f"file://{other}"})
    failed = month.failed()
    assert {"input_unchanged", "input_as_stated", "recount_totals", "days_complete"} <= failed
    assert not [name for name in failed if name.endswith("_checkable")]
