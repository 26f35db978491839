"""What the make variables may be, before anything starts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from confidential_spark.core.errors import ConfidentialSparkError, ConfigurationError
from confidential_spark.core.months import Month
from confidential_spark.jobs.input.manifest import read_manifest
from confidential_spark.jobs.nytaxi.trip_schema import TRIPS
from confidential_spark.pipelines.params import INPUT_PATTERN
from confidential_spark.simulation.trips.month import write_month

from scripts import run_choices

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MONTH = Month(2018, 5)


@pytest.mark.parametrize("rows", ["", "abc", "0", "999", "-1000", "1e5", "100000001", "9" * 99])
def test_refuses_a_size_that_the_setting_would_refuse(rows: str) -> None:
    with pytest.raises(ConfigurationError, match=r"rows-out-of-range.*whole number from 1000 to 100000000"):
        run_choices.synthetic_rows(rows)


def test_one_of_the_tlcs_files_is_an_input(tmp_path: Path) -> None:
    (file,) = write_month(MONTH, 1_000, tmp_path / "made").iterdir()
    file = file.rename(tmp_path / "yellow_tripdata_2018-05.parquet")
    assert run_choices.input_uri(str(file), MONTH) == run_choices.deployment_uri(str(file)) == file.as_uri()
    assert run_choices.input_uri(str(tmp_path), MONTH) == tmp_path.as_uri()
    with pytest.raises(ConfidentialSparkError, match="input-month-mismatch"):
        run_choices.input_uri(str(file), MONTH.shift(1))


@pytest.mark.parametrize("rows", [1_000, 100_000_000])
def test_takes_the_sizes_at_the_bounds(rows: int) -> None:
    assert run_choices.synthetic_rows(str(rows)) == rows


@pytest.mark.parametrize(
    ("location", "message"),
    [
        pytest.param("file:///no/such folder", "input-missing.*/no/such folder", id="missing-uri"),
        pytest.param("{root}", "month-without-data.*2018-05", id="folder-without-the-month"),
        pytest.param("s3://bucket/yellow", r"input-scheme.*s3://.*expected: file://", id="s3"),
        pytest.param("wasbs://c@account/yellow", "input-uri.*blob.core.windows.net", id="wasbs"),
        pytest.param("https://a12.blob.core.windows.net/c-1/x?sig=x", "input-credential", id="sas"),
        pytest.param("file://host/yellow", "input-uri.*expected: file:///absolute/path", id="other-host"),
        pytest.param("/data/{{day}}", "input-template.*expected: .year.", id="placeholder"),
        pytest.param("/data/puYear=2018/puMonth=6", "input-month-mismatch", id="other-month"),
    ],
)
def test_refuses_a_location_without_the_month(tmp_path: Path, location: str, message: str) -> None:
    with pytest.raises(ConfidentialSparkError, match=message):
        run_choices.input_uri(location.format(root=tmp_path), MONTH)


@pytest.mark.parametrize(
    ("given", "uri"),
    [
        pytest.param("{root}/with space", "{encoded}/with%20space", id="path"),
        pytest.param("file://{root}/with space", "{encoded}/with%20space", id="uri-with-a-space"),
        pytest.param("file:{root}/with%20space", "{encoded}/with%20space", id="hadoop-form-encoded"),
        pytest.param(
            "{root}/with space/puYear={{year}}/puMonth={{month}}",
            "{encoded}/with%20space/puYear={{year}}/puMonth={{month}}",
            id="template",
        ),
        pytest.param(
            "{root}/x/../with space/puYear=2018/puMonth=5",
            "{encoded}/with%20space/puYear=2018/puMonth=5",
            id="month",
        ),
    ],
)
def test_a_location_becomes_the_uri_of_the_trigger_form(tmp_path: Path, given: str, uri: str) -> None:
    write_month(MONTH, 1_000, tmp_path / "with space")
    found = run_choices.input_uri(given.format(root=tmp_path), MONTH)
    assert found == uri.format(encoded=tmp_path.as_uri())
    assert re.fullmatch(INPUT_PATTERN, found)
    assert read_manifest(found, MONTH, TRIPS).rows == 1_000


@pytest.mark.parametrize(
    "given",
    [
        pytest.param("{root}/yellow", id="folder"),
        pytest.param("file://{root}/yellow", id="uri"),
        pytest.param("{root}/yellow/puYear={{year}}/puMonth={{month}}", id="template"),
        pytest.param("{root}/yellow/{{year}}", id="template-of-folders"),
    ],
)
def test_a_deployment_has_one_location_for_every_month(tmp_path: Path, given: str) -> None:
    (tmp_path / "yellow").mkdir()
    found = run_choices.deployment_uri(given.format(root=tmp_path))
    assert found.startswith(f"{tmp_path.as_uri()}/yellow")
    assert re.fullmatch(INPUT_PATTERN, found)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param("{root}/yelow", "input-missing.*yelow.*INPUT=…", id="no-such-folder"),
        pytest.param("{root}/yelow/{{year}}", "input-missing.*yelow", id="no-such-folder-in-a-template"),
        pytest.param("{root}/{{day}}", "input-template", id="placeholder"),
        pytest.param("s3://bucket/yellow", "input-scheme", id="s3"),
    ],
)
def test_a_deployment_without_its_input_is_refused(tmp_path: Path, given: str, message: str) -> None:
    with pytest.raises(ConfidentialSparkError, match=message):
        run_choices.deployment_uri(given.format(root=tmp_path))


@pytest.mark.parametrize(
    "read", [lambda given: run_choices.input_uri(given, MONTH), run_choices.deployment_uri]
)
@pytest.mark.parametrize(
    ("given", "shown"),
    [
        pytest.param("file://[::1/yellow", "file://[::1/yellow", id="broken-host"),
        pytest.param("~no-such-user/yellow", "~no-such-user/yellow", id="unknown-user"),
        pytest.param("/yell\udcffow", r"/yell\udcffow", id="not-utf-8"),
    ],
)
def test_a_malformed_location_is_refused_by_name(read: Callable[[str], str], given: str, shown: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"input-uri.*{re.escape(shown)}"):
        read(given)
