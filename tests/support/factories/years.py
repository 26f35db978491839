"""Months of a simulated enclave with genuine evidence, and years made of them."""

from __future__ import annotations

import copy
import hashlib
import json
from functools import cache
from typing import TYPE_CHECKING, Any

from confidential_spark.agent import protocol
from confidential_spark.jobs.rollup.making import make_year
from confidential_spark.verification import Policy
from confidential_spark.years.months import Acceptance
from confidential_spark.years.sums import months_of_year

from tests.support.factories.bundles import JOB, POLICY, Bundle, make_bundle, run_report

if TYPE_CHECKING:
    from pathlib import Path

YEAR = "2018"
MONTHS = list(months_of_year(YEAR))
PINNED = POLICY | {
    "attestation": POLICY["attestation"]
    | {"token_signing_keys": ["ad84244a9a63d05c23251486c0b2a169b1cedf82e1b49bae1e9d1de582b5b17a"]}
}
"""The policy of the months: their own snapshot of the issuer's keys is enough."""


def summary_of(month: str, *, trips: int, cap: int = 100_000) -> dict[str, Any]:
    """Return a month's `summary.json` in which every sum follows from the number of trips."""
    sums = {"revenue_cents": trips * 1500, "fare_cents": trips * 1200, "tip_cents": trips * 100}
    return {
        "v": 1,
        "job": "nytaxi",
        "month": month,
        "input_version": "tlc-2018",
        "rows": {"input": trips + 3, "accepted": trips, "rejected": 3},
        "totals": {
            "trips": trips,
            **sums,
            "distance_millimiles": trips * 2900,
            "duration_s": trips * 700,
            "tip_share": 0.0666,
            "speed_mph": 14.9,
        },
        "all_rows": {"rows": trips + 3, **sums},
        "first_pickup": f"{month}-01T00:00:01Z",
        "last_pickup": f"{month}-28T23:59:59Z",
        "rules": [
            {"name": "fare_negative", "action": "reject", "rows": 4, "first": 3},
            {"name": "distance_zero", "action": "count", "rows": trips // 10},
        ],
        "options": {"outlier_cap_cents": cap},
        "duration_ms": 1000 + trips,
    }


@cache
def month_files(
    month: str, *, trips: int = 0, cap: int = 100_000, synthetic: bool = False
) -> dict[str, bytes]:
    """Return the files of a published month: results, evidence and report."""
    trips = trips or 100 + MONTHS.index(month)
    results = {
        "summary.json": json.dumps(summary_of(month, trips=trips, cap=cap)).encode(),
        "by_hour.parquet": f"PAR1 {month} {trips} PAR1".encode(),
    }
    bundle = _bundle(month, cap, f"{month}/{trips}", results)
    report = run_report(bundle, trips=trips) | {"synthetic": synthetic}
    return results | {"evidence.json": bundle.evidence, "report.json": json.dumps(report).encode()}


def _bundle(month: str, cap: int, label: str, results: dict[str, bytes]) -> Bundle:
    arguments = ["--month", month, "--outlier-cap-cents", str(cap)]
    digest = protocol.arguments_sha256(arguments)
    run_id, nonce = f"nytaxi_local/manual__{label}", hashlib.sha256(label.encode()).digest()
    subject = [
        {"name": name, "digest": {"sha256": hashlib.sha256(content).hexdigest()}}
        for name, content in sorted(results.items())
    ]

    def runtime(members: dict[str, Any]) -> dict[str, Any]:
        return members | {"job": members["job"] | {"arguments_sha256": digest}}

    def predicate(members: dict[str, Any]) -> dict[str, Any]:
        job = members["job"] | {"arguments": arguments, "arguments_sha256": digest}
        return members | {"job": job, "month": month}

    made = make_bundle(
        run_id=run_id,
        nonce=nonce,
        runtime=runtime,
        predicate=predicate,
        statement=lambda members: members | {"subject": subject},
        results=lambda _: results,
    )
    job = protocol.JobIdentity(JOB.name, JOB.file_sha256, digest)
    expected = {"expected_nonce": nonce, "expected_run_id": run_id, "expected_job": job}
    return Bundle(**{**vars(made), "expected": expected})


def acceptance(policy: dict[str, Any] | None = None, **given: Any) -> Acceptance:
    """Return what these months satisfy."""
    return Acceptance(Policy.from_mapping(copy.deepcopy(policy or PINNED)), **given)


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Write files into a new folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def write_year(folder: Path, **changed: dict[str, Any]) -> None:
    """Write a year as its DAG would.

    :param changed: ``m05={"cap": 5}`` makes May otherwise.
    """
    for number, month in enumerate(MONTHS, 1):
        write_files(folder / "months" / month, month_files(month, **changed.get(f"m{number:02d}", {})))
    versions = {month: f"run-{month}.try1" for month in MONTHS}
    make_year(folder, YEAR, "nytaxi", acceptance(), run_id="nytaxi_year_local/r", versions=versions)
