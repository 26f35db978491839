"""A small month whose results are right in every respect, for tests to spoil."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from confidential_spark.core.months import Month
from confidential_spark.jobs.checks.limits import load_limits
from confidential_spark.jobs.checks.result import CheckResult
from confidential_spark.jobs.checks.run import run_checks
from confidential_spark.jobs.input.manifest import InputTotals, read_manifest
from confidential_spark.jobs.nytaxi.checks import RULES
from confidential_spark.jobs.nytaxi.month_limits import NytaxiLimits
from confidential_spark.jobs.nytaxi.recount import recount
from confidential_spark.jobs.nytaxi.summary import COUNT_RULES, MEASURES, PAYMENT_TYPES, REJECT_RULES
from confidential_spark.jobs.nytaxi.trip_schema import TRIPS
from confidential_spark.simulation.trips.month import write_month

from tests.support.fakes.published import PublishedStub
from tests.support.places import ROOT

MONTH = Month(2018, 5)
CAP = 100_000
CHECKS = ROOT / "include" / "checks"


def ratios(sums: dict) -> dict:
    return {
        "tip_share": sums["tip_cents"] / sums["revenue_cents"] if sums["revenue_cents"] else None,
        "speed_mph": sums["distance_millimiles"] * 3600 / (sums["duration_s"] * 1000)
        if sums["duration_s"]
        else None,
    }


@dataclass
class MonthUnderTest:
    month: Month
    results: Path
    limits: NytaxiLimits
    recorded: InputTotals
    predicate: dict
    trailing: list = field(default_factory=list)

    @property
    def data_file(self) -> Path:
        (file,) = Path(self.recorded.uri.removeprefix("file://")).glob("*.parquet")
        return file

    def change_summary(self, change) -> None:
        path = self.results / "summary.json"
        summary = json.loads(path.read_text())
        change(summary)
        path.write_text(json.dumps(summary))

    def change_table(self, name: str, change) -> None:
        path = self.results / f"{name}.parquet"
        pq.write_table(change(pq.ParquetFile(path).read()), path)

    @property
    def totals(self) -> dict:
        return json.loads((self.results / "summary.json").read_text())["totals"]

    def check(self, only: set[str] | None = None) -> dict[str, CheckResult]:
        chosen = {name: check for name, check in RULES.checks.items() if only is None or name in only}
        results = run_checks(
            replace(RULES, checks=chosen),
            self.results,
            limits=self.limits,
            predicate=self.predicate,
            month=self.month,
            recorded_input=self.recorded,
            published=PublishedStub(months=self.trailing),
        )
        assert len({result.name for result in results}) == len(results)
        return {result.name: result for result in results}

    def failed(self) -> set[str]:
        return {name for name, result in self.check().items() if not result.passed}


def make_month(folder: Path, rows: int = 3_000) -> MonthUnderTest:
    """Return a synthetic month with right results."""
    write_month(MONTH, rows, folder / "input")
    return month_of(folder / "input", MONTH, folder / "results")


def month_of(source: Path, month: Month, results: Path) -> MonthUnderTest:
    """Return right results of an input that is there, as DuckDB counts them."""
    manifest = read_manifest(str(source), month, TRIPS)
    rows = manifest.rows
    counted = recount(manifest.paths, month, CAP)
    results.mkdir()
    none = dict.fromkeys(MEASURES, 0)
    write_table(results / "by_hour.parquet", "hour", {h: counted.by_hour.get(h, none) for h in range(24)})
    write_table(results / "by_pickup_zone.parquet", "zone", counted.by_pickup_zone)
    payments = {name: counted.by_payment_type.get(name, none) for name in PAYMENT_TYPES}
    write_table(results / "by_payment_type.parquet", "payment_type", payments)
    accepted = counted.totals["trips"]
    row_counts = {"input": rows, "accepted": accepted, "rejected": rows - accepted}
    reject = [
        {"name": n, "action": "reject", "rows": counted.rules[n][0], "first": counted.rules[n][1]}
        for n in REJECT_RULES
    ]
    summary = {
        "v": 1,
        "job": "nytaxi",
        "month": str(month),
        "input_version": manifest.version,
        "rows": row_counts,
        "totals": {**counted.totals, **ratios(counted.totals)},
        "all_rows": {"rows": rows, **counted.all_rows},
        "first_pickup": counted.first_pickup,
        "last_pickup": counted.last_pickup,
        "rules": reject + [{"name": n, "action": "count", "rows": counted.rules[n][0]} for n in COUNT_RULES],
        "options": {"outlier_cap_cents": CAP},
        "duration_ms": 1234,
    }
    (results / "summary.json").write_text(json.dumps(summary))
    inputs = [
        {"uri": path.as_uri(), "bytes": file.bytes, "sha256": file.sha256}
        for path, file in zip(manifest.paths, manifest.files, strict=True)
    ]
    predicate = {
        "month": str(month),
        "rows": row_counts,
        "inputs": inputs,
        "job": {"name": "nytaxi", "arguments": ["--month", str(month), "--outlier-cap-cents", str(CAP)]},
    }
    return MonthUnderTest(
        month, results, load_limits(CHECKS / "nytaxi.yaml", NytaxiLimits), manifest.totals(), predicate
    )


def write_table(path: Path, key: str, groups: dict) -> None:
    columns = {key: pa.array(list(groups), pa.string() if key == "payment_type" else pa.int32())}
    columns |= {name: pa.array([sums[name] for sums in groups.values()], pa.int64()) for name in MEASURES}
    columns |= {
        name: pa.array([ratios(sums)[name] for sums in groups.values()], pa.float64())
        for name in ("tip_share", "speed_mph")
    }
    pq.write_table(pa.table(columns), path)
