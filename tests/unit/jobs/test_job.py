"""Names under which results are filed, and arguments that evidence covers."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest
from confidential_spark.agent.errors import AgentError
from confidential_spark.core.errors import ConfigurationError
from confidential_spark.core.months import Month
from confidential_spark.jobs import JOBS
from confidential_spark.jobs.job import publication_key, safe_name
from confidential_spark.jobs.nytaxi import NYTAXI
from confidential_spark.jobs.sparkpi import SPARKPI
from hypothesis import given
from hypothesis import strategies as st

from tests.support.places import ROOT

if TYPE_CHECKING:
    from pathlib import Path

MONTH = Month(2018, 5)


@given(st.text(max_size=300))
def test_any_text_becomes_a_file_name(text: str) -> None:
    name = safe_name(text)
    assert len(name) <= 129
    assert "/" not in name
    assert not name.startswith(".")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("manual__a:b", "manual__a+b", id="punctuation"),
        pytest.param("x" * 200, "x" * 201, id="length"),
    ],
)
def test_two_runs_never_share_a_name(one: str, other: str) -> None:
    assert safe_name(one) != safe_name(other)


def test_a_month_is_filed_under_its_month_whatever_the_run() -> None:
    assert (
        publication_key(NYTAXI, MONTH, "manual__1")
        == publication_key(NYTAXI, MONTH, "other")
        == "month=2018-05"
    )


def test_arguments_follow_from_the_options() -> None:
    assert NYTAXI.arguments_for(MONTH, {"outlier_cap_dollars": 1000}) == [
        *("--month", "2018-05"),
        *("--outlier-cap-cents", "100000"),
    ]
    assert SPARKPI.arguments_for(None, {"partitions": 4}) == ["--partitions", "4"]


@pytest.mark.parametrize("name", sorted(JOBS))
def test_every_job_has_its_program_and_its_checks(name: str) -> None:
    assert JOBS[name].file(ROOT / "include" / "jobs").is_file()
    assert (ROOT / "include" / "checks" / f"{name}.yaml").is_file()


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="job-file-missing"):
        NYTAXI.file(tmp_path)


def test_a_pyspark_program_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    (tmp_path / "nytaxi.py").write_text("from pyspark.sql import SparkSession\n")
    with pytest.raises(AgentError, match="job-form-unsupported"):
        NYTAXI.require_supported_form(tmp_path)


@pytest.mark.parametrize("name", sorted(JOBS))
def test_every_jobs_program_is_in_the_supported_form(name: str) -> None:
    JOBS[name].require_supported_form(ROOT / "include" / "jobs")


def test_the_form_says_how_many_points_a_partition_draws() -> None:
    from confidential_spark.pipelines.params import partitions_param

    program = ast.parse((ROOT / "include" / "jobs" / "sparkpi.py").read_text())
    constants = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in program.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
    }
    assert f"{constants['SAMPLES_PER_PARTITION']:,} points" in partitions_param().schema["description_md"]
