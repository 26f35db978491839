"""A month is made up only where nothing is proven."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest
from confidential_spark.core.errors import ConfigurationError, InputError
from confidential_spark.core.months import Month
from confidential_spark.core.platforms import Platform
from confidential_spark.jobs.nytaxi import NYTAXI
from confidential_spark.operators.base import RunScope
from confidential_spark.operators.inputs import ResolveInputOperator
from confidential_spark.settings import forget_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MONTH = Month(2018, 5)


@pytest.fixture
def inputs_dir(tmp_path: Path, monkeypatch) -> Iterator[Path]:
    monkeypatch.setenv("CONFIDENTIAL_SPARK_INPUTS_DIR", str(tmp_path))
    monkeypatch.setenv("CONFIDENTIAL_SPARK_SYNTHETIC_ROWS", "1000")
    forget_settings()
    yield tmp_path
    forget_settings()


def synthetic_month(platform: Platform) -> str:
    operator = ResolveInputOperator(task_id="resolve_input", job=NYTAXI, platform=platform)
    contract = NYTAXI.rules().input
    assert contract
    return operator.synthetic_month(MONTH, contract)


@pytest.mark.parametrize("platform", [Platform.DCSV3, Platform.AKS])
def test_under_a_hardware_policy_an_input_must_be_named(inputs_dir: Path, platform: Platform) -> None:
    with pytest.raises(ConfigurationError, match=r"input-not-configured.*under the policy production"):
        synthetic_month(platform)
    assert list(inputs_dir.iterdir()) == []


def test_a_simulated_platform_makes_one(inputs_dir: Path) -> None:
    assert synthetic_month(Platform.LOCAL) == inputs_dir.as_uri()
    assert list(inputs_dir.glob("puYear=2018/puMonth=5/*.parquet"))


def test_so_does_another_platform_that_is_simulated(inputs_dir: Path, monkeypatch) -> None:
    monkeypatch.setenv("CONFIDENTIAL_SPARK_DCSV3_POLICY", "simulation-image")
    forget_settings()
    assert synthetic_month(Platform.DCSV3) == inputs_dir.as_uri()


def test_more_files_than_executors_take_are_refused_where_there_are_executors(inputs_dir: Path) -> None:
    location = synthetic_month(Platform.LOCAL)
    (file,) = inputs_dir.glob("puYear=2018/puMonth=5/*.parquet")
    for number in range(256):
        pq.write_table(
            pq.read_table(file)[:0],
            file.with_name(f"empty-{number}.parquet"),
            use_deprecated_int96_timestamps=True,
        )
    scope = RunScope("nytaxi", "r", 1, MONTH, {"input": location, "publish": False})

    def resolve(platform: Platform) -> int:
        operator = ResolveInputOperator(task_id="resolve_input", job=NYTAXI, platform=platform)
        return int(operator.run({}, scope)["files"])

    assert resolve(Platform.DCSV3) == 257
    with pytest.raises(InputError, match="input-too-many-files"):
        resolve(Platform.AKS)
