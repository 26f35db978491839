"""A right month of demand, and what each fault in it fails."""

import json
import shutil
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from confidential_spark.core.errors import ResultError
from confidential_spark.core.months import Month
from confidential_spark.jobs.checks.limits import load_limits
from confidential_spark.jobs.checks.result import CheckResult, Severity
from confidential_spark.jobs.checks.run import run_checks
from confidential_spark.jobs.checks.subject import PublishedMonth
from confidential_spark.jobs.input.manifest import InputTotals, read_manifest
from confidential_spark.jobs.nytaxi_demand import NYTAXI_DEMAND
from confidential_spark.jobs.nytaxi_demand.checks import RULES, TRIPS, DemandLimits
from confidential_spark.jobs.nytaxi_demand.recount import recount
from confidential_spark.simulation.trips.month import write_month
from confidential_spark.ui.results.published import PublishedResult
from confidential_spark.ui.views.report_view import charts, figures

from tests.support.fakes.published import PublishedStub
from tests.support.job_runs import call, load, write_rows
from tests.unit.jobs.month_under_test import CHECKS

MAY = Month(2018, 5)
CAP = 100_000
ROWS = 3_000
TABLES = ("by_day_zone", "by_day", "by_weekday", "top_zones")


@dataclass
class DemandUnderTest:
    results: Path
    recorded: InputTotals
    predicate: dict
    nytaxi: PublishedMonth | None = None
    limits: DemandLimits = field(
        default_factory=lambda: load_limits(CHECKS / "nytaxi_demand.yaml", DemandLimits)
    )

    def change_summary(self, change) -> None:
        path = self.results / "summary.json"
        summary = json.loads(path.read_text())
        change(summary)
        path.write_text(json.dumps(summary))

    def change_table(self, name: str, change) -> None:
        path = self.results / f"{name}.parquet"
        with pq.ParquetFile(path) as file:
            table = file.read()
        rows = table.to_pylist()
        pq.write_table(pa.Table.from_pylist(change(rows) or rows, table.schema), path)

    def check(self) -> dict[str, CheckResult]:
        results = run_checks(
            RULES,
            self.results,
            limits=self.limits,
            predicate=self.predicate,
            published=PublishedStub(others={"nytaxi": self.nytaxi} if self.nytaxi else {}),
            month=MAY,
            recorded_input=self.recorded,
        )
        return {result.name: result for result in results}

    def failed(self) -> set[str]:
        return {name for name, result in self.check().items() if not result.passed}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> DemandUnderTest:
    """A month whose tables the job itself wrote, from the recount instead of from Spark."""
    folder = tmp_path_factory.mktemp("demand")
    files = sorted(write_month(MAY, ROWS, folder / "input").iterdir())
    manifest = read_manifest(str(folder / "input"), MAY, TRIPS)
    counted = recount(files, MAY, CAP)
    accepted = sum(counted.values())
    results = folder / "results"
    results.mkdir()
    rows = [{"day": day, "zone": zone, "trips": n} for (day, zone), n in counted.items()]
    cells = [*rows, {"day": None, "zone": None, "trips": ROWS - accepted}]
    write_rows(folder, "cells", cells, 7, version="azure-open-datasets")
    arguments = ["--month", str(MAY), "--outlier-cap-cents", str(CAP)]
    folders = ["--rows", str(folder), "--output", str(results)]
    assert call(load("nytaxi_demand"), "finish", *arguments, *folders).code == 0
    predicate = {
        "month": str(MAY),
        "rows": {"input": ROWS, "accepted": accepted, "rejected": ROWS - accepted},
        "inputs": [{"uri": file.as_uri(), **entry(manifest, file.name)} for file in files],
        "job": {"name": "nytaxi_demand", "arguments": arguments},
    }
    return DemandUnderTest(results, manifest.totals(), predicate)


def entry(manifest, name: str) -> dict:
    (file,) = (file for file in manifest.files if file.name == name)
    return {"bytes": file.bytes, "sha256": file.sha256}


@pytest.fixture
def month(made, tmp_path) -> DemandUnderTest:
    shutil.copytree(made.results, tmp_path / "results")
    return DemandUnderTest(tmp_path / "results", made.recorded, json.loads(json.dumps(made.predicate)))


def nytaxi(month: DemandUnderTest, **changes) -> PublishedMonth:
    accepted = month.predicate["rows"]["accepted"]
    values = {"accepted": accepted, "cap": CAP, "files": month.recorded.files_sha256} | changes
    summary = {"rows": {"accepted": values["accepted"]}, "options": {"outlier_cap_cents": values["cap"]}}
    return PublishedMonth(summary, values["files"])


def test_a_right_month_passes_every_check(month):
    month.nytaxi = nytaxi(month)
    assert month.failed() == set()


def test_its_page_shows_its_figures_and_charts(month):
    result = PublishedResult("month=2018-05", month.results, month.results)
    assert [len(chart.bars) for chart in charts(result, NYTAXI_DEMAND)] == [31, 7, 20]
    labels = [label for label, _ in figures(result.document("summary.json"), NYTAXI_DEMAND)]
    assert labels[:4] == ["Rows read", "Rows rejected", "Trips", "Zones"]
    assert len(labels) == 3 + len(NYTAXI_DEMAND.figures)


def put(index, **changes):
    """Return a change of one row of a table."""
    return lambda rows: rows[index].update(changes)


def less(index):
    """Return a change of a table: a trip less in one row."""
    return lambda rows: rows[index].update(trips=rows[index]["trips"] - 1)


def moved(rows):
    """Move a trip from the first day to the last; no sum over the month notices."""
    first = next(row for row in rows if row["trips"] > 1)
    first["trips"] -= 1
    last = next(row for row in reversed(rows) if row["day"] == 31)
    last["trips"] += 1


@pytest.mark.parametrize(
    ("table", "change", "failing"),
    [
        pytest.param("by_day_zone", moved, {"by_day", "by_weekday", "recount"}, id="trip-moved"),
        pytest.param("by_day_zone", less(0), {"by_day", "recount"}, id="trip-less"),
        pytest.param("by_day_zone", put(0, zone=266), {"zones_in_range", "recount"}, id="zone-266"),
        pytest.param("by_day_zone", put(0, zone=-1), {"zones_in_range", "recount"}, id="zone-negative"),
        pytest.param("by_day_zone", put(-1, day=32), {"zones_in_range", "by_weekday_checkable"}, id="day-32"),
        pytest.param("by_day_zone", lambda rows: rows[::-1], {"by_day_zone_keys"}, id="order"),
        pytest.param("by_day_zone", lambda rows: rows + rows[:1], {"by_day_zone_keys"}, id="pair-twice"),
        pytest.param("by_day_zone", put(0, trips=0), {"by_day_zone_trips"}, id="row-without-trip"),
        pytest.param(
            "by_day_zone",
            lambda rows: [row for row in rows if row["day"] != 9],
            {"days_complete", "by_day", "recount"},
            id="day-missing",
        ),
        pytest.param("by_day", lambda rows: rows[1:], {"by_day"}, id="day-not-listed"),
        pytest.param("by_day", less(3), {"by_day"}, id="day-trip-less"),
        pytest.param("by_day", put(0, weekday="monday"), {"by_day"}, id="wrong-weekday"),
        pytest.param("by_day", put(0, zones=1), {"by_day"}, id="day-zones"),
        pytest.param("by_weekday", put(0, trips_per_day=0.5), {"by_weekday"}, id="mean"),
        pytest.param("by_weekday", put(0, days=5), {"by_weekday"}, id="days-of-the-week"),
        pytest.param("by_weekday", lambda rows: rows[:6], {"by_weekday"}, id="no-sunday"),
        pytest.param("top_zones", put(0, share=1.0), {"top_zones"}, id="share"),
        pytest.param("top_zones", lambda rows: rows[:5], {"top_zones"}, id="top-5"),
        pytest.param("top_zones", put(0, zone=264), {"top_zones"}, id="unknown-zone-is-no-place"),
    ],
)
def test_a_wrong_table_fails_its_checks(month, table, change, failing):
    month.change_table(table, change)
    failed = month.failed()
    assert failing <= failed
    if table != "by_day_zone":
        assert failed == failing


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda path: path.unlink(), id="missing"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-20]), id="truncated"),
        pytest.param(lambda path: pq.write_table(pa.table({"a": [1]}), path), id="other-columns"),
    ],
)
def test_a_table_that_cannot_be_read_is_a_failed_check(month, table, spoil):
    spoil(month.results / f"{table}.parquet")
    assert f"{table}_checkable" in month.failed()


def add(*path):
    """Return a change of a summary: one more at ``path``."""

    def change(summary: dict) -> None:
        for step in path[:-1]:
            summary = summary[step]
        summary[path[-1]] += 1

    return change


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        pytest.param(lambda s: s.update(month="2018-06"), {"month"}, id="other-month"),
        pytest.param(add("totals", "trips"), {"trips_are_accepted_rows", "totals"}, id="trips"),
        pytest.param(add("totals", "zones"), {"totals"}, id="zones"),
        pytest.param(add("totals", "busiest_day"), {"totals"}, id="busiest-day"),
        pytest.param(add("totals", "busiest_day_trips"), {"totals"}, id="busiest-day-trips"),
        pytest.param(add("rows", "rejected"), {"rows_accounted", "statement_rows"}, id="rejected"),
        pytest.param(
            add("rows", "input"), {"rows_accounted", "statement_rows", "input_rows"}, id="input-rows"
        ),
        pytest.param(
            lambda s: s["options"].update(outlier_cap_cents=1), {"statement_arguments", "recount"}, id="cap"
        ),
        pytest.param(lambda s: s.update(surprise=1), {"summary_checkable"}, id="unknown-member"),
    ],
)
def test_a_wrong_summary_fails_its_checks(month, change, failing):
    month.change_summary(change)
    failed = month.failed()
    assert failing <= failed
    if "summary_checkable" not in failed:
        assert failed == failing


@pytest.mark.parametrize(
    ("changes", "failing"),
    [
        pytest.param({"max_reject_share": 0.0}, {"reject_share"}, id="rejects"),
        pytest.param({"max_share_in_unknown_zone": 0.0}, {"share_in_unknown_zone"}, id="unknown-zones"),
        pytest.param({"quiet_day_share": 0.99}, {"quiet_days"}, id="quiet-days"),
    ],
)
def test_shares_beyond_the_limits_fail(month, changes, failing):
    month.limits = month.limits.model_copy(update=changes)
    assert month.failed() == failing


@pytest.mark.parametrize(
    ("since", "passed"),
    [pytest.param("2018-05", False, id="zones"), pytest.param("2018-06", True, id="coordinates")],
)
def test_trips_may_lack_a_zone_only_while_records_had_coordinates(month, since, passed):
    month.limits = month.limits.model_copy(update={"zones_since": since})
    month.change_summary(lambda s: s["totals"].update(trips_without_zone=s["totals"]["trips"]))
    assert month.check()["share_without_zone"].passed is passed


def late(trips: pa.Table) -> pa.Table:
    later = pc.add(trips["tpepPickupDateTime"], pa.scalar(timedelta(hours=5)))
    return trips.set_column(trips.column_names.index("tpepPickupDateTime"), "tpepPickupDateTime", later)


@pytest.mark.parametrize(
    ("fault", "found_by"),
    [
        pytest.param(
            lambda trips: pa.concat_tables([trips, trips.slice(0, 9)]), "share_equal_rows", id="rows-twice"
        ),
        pytest.param(late, "clock_all", id="clock-in-utc"),
    ],
)
def test_a_fault_of_the_input_is_found_by_its_shape(month, tmp_path, fault, found_by):
    assert month.check()[found_by].passed
    files = write_month(MAY, ROWS, tmp_path / "input")
    (file,) = files.iterdir()
    trips = fault(pq.ParquetFile(file, coerce_int96_timestamp_unit="us").read())
    pq.write_table(trips, file, use_deprecated_int96_timestamps=True)
    month.recorded = read_manifest(str(tmp_path / "input"), MAY, TRIPS).totals()
    assert month.check()[found_by].blocks


def test_rows_may_be_equal_while_meters_gave_whole_minutes(month):
    month.limits = month.limits.model_copy(update={"max_equal_row_share": -1.0})
    assert not month.check()["share_equal_rows"].passed
    month.limits = month.limits.model_copy(update={"whole_minutes_until": str(MAY)})
    assert month.check()["share_equal_rows"].passed


def test_few_rows_have_no_night(month):
    month.limits = month.limits.model_copy(update={"quietest_hours": (12,)})
    assert month.check()["clock_all"].blocks
    month.limits = month.limits.model_copy(update={"judged_from_rows": ROWS + 1})
    assert month.check()["clock_all"].passed


def test_other_trips_than_nytaxi_published_are_an_error(month):
    month.nytaxi = nytaxi(month, accepted=1)
    result = month.check()["nytaxi_trips"]
    assert (result.blocks, result.expected) == (True, "1")


@pytest.mark.parametrize(
    ("changes", "passed", "got"),
    [
        pytest.param(None, True, "has not published", id="not-published"),
        pytest.param({"files": "0" * 64, "accepted": 1}, False, "other input files", id="other-files"),
        pytest.param({"cap": 1, "accepted": 1}, False, "'outlier_cap_cents': 1", id="other-cap"),
    ],
)
def test_a_comparison_that_does_not_apply_says_so(month, changes, passed, got):
    month.nytaxi = None if changes is None else nytaxi(month, **changes)
    result = month.check()["nytaxi_trips"]
    assert (result.severity, result.passed, result.detail) == (Severity.WARN, passed, "not applicable")
    assert got in result.got


def test_a_month_of_nytaxi_that_cannot_be_read_is_a_warning(month, monkeypatch):
    def unreadable(self, job):
        raise ResultError("The report cannot be read.", code="report-unreadable")

    monkeypatch.setattr(PublishedStub, "same_month", unreadable)
    result = month.check()["nytaxi_trips"]
    assert (result.severity, result.passed) == (Severity.WARN, False)
    assert "report-unreadable" in result.got


def test_an_input_without_the_columns_of_other_jobs_is_enough(tmp_path):
    folder = write_month(MAY, 1_000, tmp_path / "whole")
    (file,) = folder.iterdir()
    with pq.ParquetFile(file) as whole:
        table = whole.read(list(TRIPS.columns))
    narrow = tmp_path / "narrow" / "puYear=2018" / "puMonth=5"
    narrow.mkdir(parents=True)
    pq.write_table(table, narrow / "a.parquet", use_deprecated_int96_timestamps=True)
    assert read_manifest(str(tmp_path / "narrow"), MAY, TRIPS).rows == 1_000
