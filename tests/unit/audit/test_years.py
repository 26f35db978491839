"""Years in a bundle: added up again from the bundle's months; what is wrong with one is said by name."""

from __future__ import annotations

import json
import shutil
import zipfile
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from confidential_spark.audit.making.bundle import bundle
from confidential_spark.audit.manifest import CHECKSUM, MANIFEST, checksum_line
from confidential_spark.audit.months import whole_years
from confidential_spark.cli.main import main
from confidential_spark.years.statement import to_bytes
from confidential_spark.years.verify import year_report

from tests.support.factories import years
from tests.support.published_range import published_year

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FIRST, LAST = "2018-01", "2018-12"


def made(source: Any, folder: Path, first: str = FIRST, last: str = LAST) -> Path:
    """Make a bundle in a folder, and return the folder that it was unpacked to."""
    folder.mkdir(exist_ok=True)
    (folder / "bundle.zip").write_bytes(b"".join(bundle(source, first, last)))
    with zipfile.ZipFile(folder / "bundle.zip") as file:
        file.extractall(folder)
    (unpacked,) = (path for path in folder.iterdir() if path.is_dir())
    return unpacked


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    return published_year(tmp_path_factory.mktemp("deployed"))


@pytest.fixture(scope="module")
def genuine(deployed, tmp_path_factory) -> Path:
    return made(deployed.sources(), tmp_path_factory.mktemp("genuine"))


@pytest.fixture
def unpacked(genuine, tmp_path) -> Path:
    return shutil.copytree(genuine, tmp_path / genuine.name)


@pytest.fixture
def verify(capsys, deployed) -> Callable[..., tuple[int, str]]:
    policy = str(deployed.include / "policies/simulation.yaml")

    def verify(folder: Path, *options: str) -> tuple[int, str]:
        capsys.readouterr()
        status = main(["audit", "verify", str(folder), "--policy", policy, *options])
        return status, capsys.readouterr().out

    return verify


def remake(folder: Path, change: Callable[[dict[str, Any]], None] = lambda manifest: None) -> None:
    """Write the manifest anew over the files as they are: what somebody who forges would do."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    paths = (path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    manifest["files"] = {
        name: {"bytes": len(names[name]), "sha256": sha256(names[name]).hexdigest()}
        for name in sorted(names.keys() - {MANIFEST, CHECKSUM})
    }
    change(manifest)
    content = (json.dumps(manifest, ensure_ascii=False, indent=1) + "\n").encode()
    (folder / MANIFEST).write_bytes(content)
    (folder / CHECKSUM).write_bytes(checksum_line(content))


def test_a_year_is_added_up_again_from_the_bundles_months(verify, genuine) -> None:
    for path in (genuine, genuine.parent / "bundle.zip"):
        status, said = verify(path)
        assert status == 0, said
        assert "\nyear 2018  VERIFIED" in said
        assert "12 of 12 months VERIFIED · years VERIFIED: 2018 · trust: SIMULATED" in said.splitlines()[-1]
    assert "| 2018 | VERIFIED |" in (genuine / "README.md").read_text()
    assert sorted(path.name for path in (genuine / "years/2018").iterdir()) == [
        *("evidence.json", "report.json", "summary.json")
    ]


def test_json_has_the_year_with_its_steps(verify, genuine) -> None:
    report = json.loads(verify(genuine, "--json")[1])
    (year,) = report["years"]
    assert (year["year"], year["outcome"], len(year["report"]["steps"])) == ("2018", "VERIFIED", 8)
    assert year.keys() == {"year", "outcome", "code", "detail", "report"}
    assert [month["month"] for month in report["months"]] == years.MONTHS
    assert report["months"][0].keys() == {"month", "outcome", "code", "detail", "report"}


def more_trips(folder: Path) -> None:
    path = folder / "years/2018/summary.json"
    path.write_text(path.read_text().replace('"trips": 1', '"trips": 9', 1))


def restated(folder: Path) -> None:
    """Change the sum, and have statement and report say so."""
    more_trips(folder)
    year = folder / "years/2018"
    statement = json.loads((year / "evidence.json").read_bytes())
    for subject in statement["subject"]:
        if subject["name"] == "summary.json":
            subject["digest"]["sha256"] = sha256((year / "summary.json").read_bytes()).hexdigest()
    (year / "evidence.json").write_bytes(to_bytes(statement))
    (year / "report.json").write_bytes(to_bytes(year_report(statement, to_bytes(statement))))


def claims_hardware(folder: Path) -> None:
    path = folder / "years/2018/evidence.json"
    path.write_text(path.read_text().replace('"trust": "simulated"', '"trust": "hardware"', 1))


def without_summary(folder: Path) -> None:
    (folder / "years/2018/summary.json").unlink()


def no_statement(folder: Path) -> None:
    (folder / "years/2018/evidence.json").write_text("{}")


def another_month(folder: Path) -> None:
    shutil.rmtree(folder / "months/2018-05")
    years.write_files(folder / "months/2018-05", years.month_files("2018-05", trips=7_000))


def month_gone(folder: Path) -> None:
    shutil.rmtree(folder / "months/2018-05")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(more_trips, "year 2018  REFUSED     result-digest-mismatch step 2", id="sum-changed"),
        pytest.param(restated, "year 2018  REFUSED     year-sum step 7", id="sum-and-statement-changed"),
        pytest.param(claims_hardware, "year 2018  REFUSED     year-statement step 6", id="claims-hardware"),
        pytest.param(without_summary, "year 2018  REFUSED     result-missing step 2", id="no-summary"),
        pytest.param(no_statement, "year 2018  REFUSED     year-statement step 1", id="no-statement"),
        pytest.param(another_month, "year 2018  STALE       added up of other", id="another-may"),
        pytest.param(month_gone, "2018-05 is not there", id="a-month-gone"),
    ],
)
def test_a_year_that_is_not_the_sum_of_these_months_is_named(verify, unpacked, change, said) -> None:
    change(unpacked)
    remake(unpacked)
    status, text = verify(unpacked)
    assert status == 1, text
    assert said in text
    assert "years VERIFIED" not in text


def test_what_the_manifest_does_not_know_is_a_changed_file_too(verify, unpacked) -> None:
    more_trips(unpacked)
    status, text = verify(unpacked)
    assert status == 1
    assert "audit-file-changed" in text
    assert "years/2018/summary.json" in text


def test_a_year_that_is_stale_where_it_was_made_is_stale_in_the_bundle(verify, tmp_path) -> None:
    deployed = published_year(tmp_path / "deployment")
    years_of_may = years.month_files("2018-05", trips=7_000)
    staging = deployed.store.stage("month=2018-05", "2018-05.2")
    with deployed.store.hold(staging) as folder:
        years.write_files(folder, years_of_may)
    deployed.store.publish(staging)
    folder = made(deployed.sources(), tmp_path / "out")
    status, text = verify(folder)
    assert status == 1
    assert "12 of 12 months VERIFIED · years STALE: 2018" in text
    assert "2018-05 is another one" in text
    assert json.loads((folder / MANIFEST).read_bytes())["years"]["2018"]["found"] == "STALE"


def test_a_year_that_was_not_published_is_named_and_is_no_fault_of_the_months(
    verify, deployed, tmp_path
) -> None:
    folder = made(deployed.sources(years=lambda year: None), tmp_path / "out")
    status, text = verify(folder)
    assert status == 0, text
    assert "\nyear 2018  MISSING" in text
    assert "years MISSING: 2018" in text.splitlines()[-1]
    report = json.loads(verify(folder, "--json")[1])
    assert (report["passed"], [(year["year"], year["outcome"]) for year in report["years"]]) == (
        True,
        [("2018", "MISSING")],
    )


def test_a_bundle_from_before_years_is_verified_as_it_was(verify, unpacked) -> None:
    shutil.rmtree(unpacked / "years")
    remake(unpacked, lambda manifest: manifest.pop("years"))
    status, text = verify(unpacked)
    assert status == 0, text
    assert "year" not in text.splitlines()[-1]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        pytest.param(None, "another order", id="null"),
        pytest.param({}, "not each year", id="none"),
        pytest.param({"2017": {"found": "VERIFIED", "reason": "", "left_out": 0}}, "not each", id="other"),
    ],
)
def test_years_that_do_not_follow_from_the_range_are_malformed(verify, unpacked, value, why) -> None:
    remake(unpacked, lambda manifest: manifest.update(years=value))
    status, text = verify(unpacked)
    assert status == 1
    assert "audit-manifest-malformed" in text


def test_a_range_without_a_whole_year_has_none(verify, deployed, unpacked, tmp_path) -> None:
    part = made(deployed.sources(), tmp_path / "out", "2018-02", "2018-12")
    assert "years" not in json.loads((part / MANIFEST).read_bytes())
    status, text = verify(unpacked, "--from", "2018-02")
    assert (status, "year 2018" in text) == (0, False)


@pytest.mark.parametrize(
    ("first", "last", "found"),
    [
        pytest.param("2017-01", "2018-12", ("2017", "2018"), id="two"),
        pytest.param("2017-02", "2019-01", ("2018",), id="one-between"),
        pytest.param("2018-02", "2019-01", (), id="twelve-months-of-two-years"),
    ],
)
def test_whole_years(first, last, found) -> None:
    from confidential_spark.audit.months import months_between

    assert whole_years(months_between(first, last)) == found
