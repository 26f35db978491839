"""A year is believed when it is the sum of exactly twelve months that verify, and for nothing less."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from confidential_spark.core.errors import VerificationError
from confidential_spark.verification import Outcome, load_policy
from confidential_spark.years.months import Acceptance
from confidential_spark.years.statement import materials_of, to_bytes
from confidential_spark.years.verify import verify_year, year_report

from tests.support.factories.bundles import POLICY, make_bundle, same
from tests.support.factories.changes import put
from tests.support.factories.years import (
    MONTHS,
    PINNED,
    acceptance,
    month_files,
    write_files,
    write_year,
)
from tests.support.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TRIPS = sum(100 + number for number in range(12))


@pytest.fixture(scope="module")
def genuine(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("genuine") / "year"
    write_year(folder)
    return folder


@pytest.fixture
def year(genuine, tmp_path) -> Path:
    return shutil.copytree(genuine, tmp_path / "year")


def read(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_bytes())
    return value


def restate(year: Path, change: Callable[[dict[str, Any]], dict[str, Any]] = same) -> None:
    """Write a statement and a report over the files as they are now: what somebody who forges would do."""
    statement = read(year / "evidence.json")
    for subject in statement["subject"]:
        subject["digest"]["sha256"] = sha256((year / subject["name"]).read_bytes()).hexdigest()
    for material in statement["predicate"]["materials"]:
        evidence = year / "months" / material["name"].removeprefix("month=") / "evidence.json"
        if evidence.exists():
            material["digest"]["sha256"] = sha256(evidence.read_bytes()).hexdigest()
    statement = change(statement)
    content = to_bytes(statement)
    (year / "evidence.json").write_bytes(content)
    (year / "report.json").write_bytes(to_bytes(year_report(statement, content)))


def test_a_genuine_year_is_verified(genuine) -> None:
    report = verify_year(genuine, acceptance())
    assert report.outcome is Outcome.VERIFIED, report.text()
    assert report.trust == "simulated"
    assert [str(step.status) for step in report.steps] == ["PASS"] * 8
    assert report.text().splitlines()[-1] == (
        "VERIFIED · the sum of its twelve months · trust: SIMULATED – proves nothing about hardware"
        " · NOT COMPARED: published months"
    )


def test_the_summary_has_the_sums_and_nothing_that_cannot_be_added(genuine) -> None:
    summary = read(genuine / "summary.json")
    assert summary["rows"] == {"input": TRIPS + 36, "accepted": TRIPS, "rejected": 36}
    assert summary["totals"] == {
        "trips": TRIPS,
        "revenue_cents": TRIPS * 1500,
        "fare_cents": TRIPS * 1200,
        "tip_cents": TRIPS * 100,
        "distance_millimiles": TRIPS * 2900,
        "duration_s": TRIPS * 700,
    }
    assert summary["all_rows"]["rows"] == TRIPS + 36
    assert summary["rules"] == [
        {"name": "fare_negative", "action": "reject", "rows": 48, "first": 36},
        {"name": "distance_zero", "action": "count", "rows": 122},
    ]
    assert [summary["months"][month]["trips"] for month in MONTHS] == [100 + n for n in range(12)]


def test_the_statement_names_evidence_results_and_measurement_of_each_month(genuine) -> None:
    predicate = read(genuine / "evidence.json")["predicate"]
    assert [material["name"] for material in predicate["materials"]] == [f"month={m}" for m in MONTHS]
    may = predicate["materials"][4]
    evidence = month_files("2018-05")["evidence.json"]
    assert may["digest"] == {"sha256": sha256(evidence).hexdigest()}
    assert may["results"].keys() == {"summary.json", "by_hour.parquet"}
    assert may["mrenclave"] == PINNED["identities"]["mrenclave"]["allow"][0]
    assert may["version"] == "run-2018-05.try1"
    assert "outside of any enclave" in predicate["computed"]
    assert predicate["notice"].startswith("SIMULATED")


def flip_digit(path: Path) -> None:
    path.write_text(path.read_text().replace('"trips": 1', '"trips": 9', 1))


def more_trips(year: Path) -> None:
    flip_digit(year / "summary.json")
    restate(year)


def other_month_in_place(year: Path) -> None:
    shutil.rmtree(year / "months" / "2018-05")
    shutil.copytree(year / "months" / "2018-04", year / "months" / "2018-05")
    restate(year)


def month_gone(year: Path) -> None:
    shutil.rmtree(year / "months" / "2018-05")
    statement = read(year / "evidence.json")
    statement["subject"] = [each for each in statement["subject"] if "2018-05" not in each["name"]]
    (year / "evidence.json").write_bytes(to_bytes(statement))


def thirteenth(year: Path) -> None:
    shutil.copytree(year / "months" / "2018-04", year / "months" / "2019-01")
    statement = read(year / "evidence.json")
    statement["subject"] += [
        each | {"name": each["name"].replace("2018-04", "2019-01")}
        for each in statement["subject"]
        if "2018-04" in each["name"]
    ]
    (year / "evidence.json").write_bytes(to_bytes(statement))


def forged_month(year: Path) -> None:
    flip_digit(year / "months" / "2018-05" / "summary.json")
    restate(year)


def other_summary_by_a_real_enclave(year: Path) -> None:
    write_files(year / "months" / "2018-05", month_files("2018-05", trips=9_000))
    restate(year)


def other_options(year: Path) -> None:
    write_files(year / "months" / "2018-05", month_files("2018-05", cap=5))
    restate(year)


def made_up_among_real(year: Path) -> None:
    write_files(year / "months" / "2018-05", month_files("2018-05", synthetic=True))
    restate(year)


def claims(member: str, value: object) -> Callable[[Path], None]:
    def change(year: Path) -> None:
        restate(year, put(f"predicate/{member}", value))

    return change


def material_of_may(member: str, value: object) -> Callable[[Path], None]:
    def change(year: Path) -> None:
        restate(year, put(f"predicate/materials/4/{member}", value))

    return change


def report_says(member: str, value: object) -> Callable[[Path], None]:
    def change(year: Path) -> None:
        (year / "report.json").write_bytes(to_bytes(read(year / "report.json") | {member: value}))

    return change


@pytest.mark.parametrize(
    ("change", "step", "code", "said"),
    [
        pytest.param(
            lambda y: (y / "evidence.json").unlink(), 1, "year-statement", "evidence", id="no-statement"
        ),
        pytest.param(
            lambda y: (y / "evidence.json").write_text("{"),
            1,
            "evidence-malformed",
            "",
            id="half-a-statement",
        ),
        pytest.param(
            lambda y: (y / "evidence.json").write_bytes(make_bundle().evidence),
            *(1, "year-statement", "None"),
            id="the-evidence-of-a-month",
        ),
        pytest.param(claims("year", "1999"), 1, "year-malformed", "1999", id="year-before-records"),
        pytest.param(claims("job", "sparkpi"), 1, "year-statement", "sparkpi", id="job-without-years"),
        pytest.param(
            lambda y: flip_digit(y / "summary.json"), 2, "result-digest-mismatch", "", id="summary-changed"
        ),
        pytest.param(
            lambda y: (y / "more.csv").write_text("x"), 2, "result-unlisted", "more.csv", id="unlisted-file"
        ),
        pytest.param(
            lambda y: (y / "envelope.json").write_text("{}"), 2, "year-statement", "envelope", id="envelope"
        ),
        pytest.param(
            lambda y: shutil.rmtree(y / "months" / "2018-05"), 2, "result-missing", "", id="files-gone"
        ),
        pytest.param(month_gone, 3, "year-months", "no 2018-05", id="month-gone"),
        pytest.param(thirteenth, 3, "year-months", "also 2019-01", id="thirteenth-month"),
        pytest.param(
            forged_month,
            4,
            "year-month-refused",
            "2018-05: step 12, result-digest-mismatch",
            id="month-forged",
        ),
        pytest.param(
            other_month_in_place, 4, "year-month-refused", "2018-05: step 11", id="april-in-the-place-of-may"
        ),
        pytest.param(other_options, 5, "year-months-differ", "2018-05", id="another-outlier-cap"),
        pytest.param(
            made_up_among_real, 5, "year-months-differ", "synthetic of 2018-04", id="synthetic-month"
        ),
        pytest.param(
            other_summary_by_a_real_enclave,
            6,
            "year-statement",
            "results.by_hour.parquet",
            id="another-run-of-may",
        ),
        pytest.param(
            material_of_may("mrenclave", "0" * 64), 6, "year-statement", "mrenclave", id="other-measurement"
        ),
        pytest.param(material_of_may("more", 1), 6, "year-statement", "more", id="unknown-member"),
        pytest.param(claims("notice", None), 6, "year-statement", "notice", id="notice-taken-away"),
        pytest.param(claims("synthetic", 0), 6, "year-statement", "synthetic", id="zero-for-false"),
        pytest.param(claims("trust", "hardware"), 6, "year-statement", "trust", id="hardware-claimed"),
        pytest.param(claims("computed", "in SGX"), 6, "year-statement", "computed", id="enclave-claimed"),
        pytest.param(more_trips, 7, "year-sum", "trips", id="not-the-sum"),
        pytest.param(
            report_says("trust", "hardware"), 8, "year-statement", "trust", id="report-claims-hardware"
        ),
        pytest.param(report_says("months", {}), 8, "year-statement", "months", id="report-names-no-months"),
    ],
)
def test_anything_else_is_refused_by_name(year, change, step, code, said) -> None:
    change(year)
    report = verify_year(year, acceptance())
    assert report.outcome is Outcome.REFUSED, report.text()
    failed = report.failure
    assert (failed.number, failed.code) == (step, code), report.text()
    assert said in f"{failed.got} {failed.expected}"
    assert report.trust is None
    with pytest.raises(VerificationError, match=code):
        report.raise_for_failure()


def test_a_policy_of_hardware_refuses_simulated_months(genuine) -> None:
    keys = json.loads(month_files("2018-01")["evidence.json"])["jwks"]
    accept = Acceptance(load_policy(ROOT / "include" / "policies" / "production.yaml"), jwks=keys)
    report = verify_year(genuine, accept)
    assert (report.outcome, report.failure.number) == (Outcome.REFUSED, 4)


def test_without_the_issuers_keys_nothing_is_judged(genuine) -> None:
    report = verify_year(genuine, acceptance(POLICY))
    assert report.outcome is Outcome.NOT_CHECKED
    assert report.text().splitlines()[-1].startswith("NOT CHECKED · step 4, jwks-missing: 2018-01")


def test_another_program_than_the_readers_is_refused(genuine) -> None:
    report = verify_year(genuine, acceptance(job_file_sha256="0" * 64))
    assert "2018-01: step 10, job-mismatch" in report.failure.got


def published_except(**changed: tuple[str, str] | None):
    def published(month: str) -> tuple[str, str] | None:
        evidence = month_files(month)["evidence.json"]
        return changed.get(f"m{month[5:]}", ("as-it-was", sha256(evidence).hexdigest()))

    return published


@pytest.mark.parametrize(
    ("changed", "outcome", "said"),
    [
        pytest.param({}, Outcome.VERIFIED, "VERIFIED · the sum of its twelve months", id="all-still-there"),
        pytest.param(
            {"m05": ("new.try1", "0" * 64)},
            Outcome.STALE,
            "STALE · 2018-05 was replaced by version new.try1 · it was",
            id="replaced",
        ),
        pytest.param(
            {"m05": None, "m07": ("b", "")},
            Outcome.STALE,
            "STALE · 2018-05 is no longer published; 2018-07 was replaced by version b · it was",
            id="gone-and-replaced",
        ),
    ],
)
def test_a_month_that_is_published_again_makes_the_year_stale(genuine, changed, outcome, said) -> None:
    report = verify_year(genuine, acceptance(), published_except(**changed))
    assert report.outcome is outcome
    assert report.verdict.startswith(said)
    assert "NOT COMPARED" not in report.verdict
    assert report.to_dict()["outcome"] == str(outcome)


def test_a_claim_cannot_write_to_the_terminal(year) -> None:
    restate(year, put("predicate/year", "2018\x1b[2J\nVERIFIED"))
    report = verify_year(year, acceptance())
    assert report.text().splitlines()[0] == "Year unknown · policy test (version 1, simulated)"
    assert "\x1b" not in report.text()
    assert report.text().splitlines()[-1].startswith("REFUSED · step 1")


def test_a_refused_year_is_not_called_stale(year) -> None:
    flip_digit(year / "summary.json")
    report = verify_year(year, acceptance(), published_except(m05=None))
    assert (report.outcome, report.stale) == (Outcome.REFUSED, ())


@pytest.mark.parametrize(
    "content",
    [
        pytest.param({}, id="empty"),
        pytest.param({"materials": 5}, id="number"),
        pytest.param({"materials": [{"name": 1}]}, id="name-is-a-number"),
        pytest.param({"materials": [{"name": "month=2018-01", "digest": None}]}, id="no-digest"),
    ],
)
def test_a_statement_without_materials_is_named(genuine, content) -> None:
    statement = read(genuine / "evidence.json") | {"predicate": content}
    with pytest.raises(VerificationError, match="year-statement"):
        materials_of(statement)


def test_months_computed_otherwise_are_not_added_up(tmp_path) -> None:
    with pytest.raises(VerificationError, match=r"year-months-differ.*arguments of 2018-06"):
        write_year(tmp_path, m07={"cap": 7})
