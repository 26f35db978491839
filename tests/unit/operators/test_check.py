"""What the checks of a run see of the results that are published on its platform."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from confidential_spark.core.errors import ResultError
from confidential_spark.core.months import Month
from confidential_spark.core.platforms import Platform
from confidential_spark.jobs.checks.subject import PublishedMonth, source_change
from confidential_spark.jobs.input.manifest import InputTotals
from confidential_spark.operators.check import StoredResults

from tests.unit.jobs.test_report import report

if TYPE_CHECKING:
    from pathlib import Path

MAY = Month(2018, 5)


def publish(root: Path, dag_id: str, month: str, report_text: str | None = None) -> None:
    version = root / dag_id / ".versions" / f"month={month}" / "try-1"
    version.mkdir(parents=True)
    (version / "summary.json").write_text(json.dumps({"month": month}))
    inputs = {"uri": "file:///d", "files": 1, "bytes": 1, "files_sha256": "ab" * 32}
    (version / "report.json").write_text(report_text or report(month=month, inputs=inputs).to_json())
    (root / dag_id / f"month={month}").symlink_to(version)


@pytest.fixture
def stored(tmp_path) -> StoredResults:
    return StoredResults(tmp_path, "sparkpi", Platform.LOCAL, MAY)


def test_another_jobs_month_comes_with_the_digest_of_its_input(stored, tmp_path) -> None:
    publish(tmp_path, "nytaxi_local", "2018-05")
    found = stored.same_month("nytaxi")
    assert found is not None
    assert (found.summary, found.files_sha256) == ({"month": "2018-05"}, "ab" * 32)


@pytest.mark.parametrize(
    ("files_sha256", "uri", "synthetic", "said"),
    [
        pytest.param("ab" * 32, "file:///d", False, None, id="the-same-files"),
        pytest.param("cd" * 32, "file:///d", False, "at the same place", id="changed-in-place"),
        pytest.param("cd" * 32, "file:///e", False, "from file:///e", id="from-another-place"),
        pytest.param("cd" * 32, "file:///d", True, None, id="made-up-rows-are-no-source"),
    ],
)
def test_a_source_that_changed_after_publication_is_said(files_sha256, uri, synthetic, said) -> None:
    now = InputTotals("file:///d", "2018-05", 1, 3, 9, "ab" * 32, synthetic=False, extra_columns=0)
    change = source_change(PublishedMonth({}, files_sha256, uri, synthetic), now)
    assert change is None if said is None else said in str(change)
    assert source_change(None, now) is None


@pytest.mark.parametrize(
    ("dag_id", "month"),
    [
        pytest.param("nytaxi_local", "2018-04", id="another-month"),
        pytest.param("nytaxi_aks", "2018-05", id="another-platform"),
    ],
)
def test_what_is_published_elsewhere_does_not_count(stored, tmp_path, dag_id, month) -> None:
    publish(tmp_path, dag_id, month)
    assert stored.same_month("nytaxi") is None


def test_a_published_month_that_cannot_be_read_is_an_error(stored, tmp_path) -> None:
    publish(tmp_path, "nytaxi_local", "2018-05", "{}")
    with pytest.raises(ResultError, match="report-unreadable"):
        stored.same_month("nytaxi")


def test_earlier_months_are_this_jobs_own_oldest_first(tmp_path) -> None:
    for month in ("2018-03", "2018-04", "2018-05", "2018-06"):
        publish(tmp_path, "nytaxi_local", month)
    publish(tmp_path, "nytaxi_aks", "2018-01")
    stored = StoredResults(tmp_path, "nytaxi", Platform.LOCAL, MAY)
    assert [summary["month"] for summary in stored.earlier(9)] == ["2018-03", "2018-04"]
    assert [summary["month"] for summary in stored.earlier(1)] == ["2018-04"]


def test_a_run_without_a_month_has_nothing_to_compare_with(tmp_path) -> None:
    publish(tmp_path, "nytaxi_local", "2018-05")
    stored = StoredResults(tmp_path, "nytaxi", Platform.LOCAL, None)
    assert (list(stored.earlier(9)), stored.same_month("nytaxi")) == ([], None)
