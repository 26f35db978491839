"""What a publication may replace."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from confidential_spark.core.errors import InputError, ResultError
from confidential_spark.hooks.results.folder_store import FolderStore
from confidential_spark.operators.publish import require_real_rows_kept

from tests.unit.jobs.test_report import report

if TYPE_CHECKING:
    from pathlib import Path

MAY = "month=2018-05"


@pytest.fixture
def store(tmp_path) -> FolderStore:
    return FolderStore(tmp_path, "nytaxi_local")


def staged(store: FolderStore, attempt: str, *, synthetic: bool) -> Path:
    staging = store.stage(MAY, attempt)
    for name in ("summary.json", "evidence.json"):
        (staging / name).write_text(json.dumps({"attempt": attempt}))
    (staging / "report.json").write_text(report(run_id=attempt, synthetic=synthetic).to_json())
    return staging


def publish(store: FolderStore, staging: Path) -> None:
    store.publish(staging, may_replace=require_real_rows_kept)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(True, True, id="made-up-over-made-up"),
        pytest.param(True, False, id="real-over-made-up"),
        pytest.param(False, False, id="real-over-real"),
    ],
)
def test_a_month_is_replaced(store, first, second) -> None:
    publish(store, staged(store, "one.try1-00", synthetic=first))
    publish(store, staged(store, "two.try1-00", synthetic=second))
    assert store.read_summary(MAY) == {"attempt": "two.try1-00"}


def test_made_up_rows_never_replace_real_ones(store) -> None:
    publish(store, staged(store, "one.try1-00", synthetic=False))
    with pytest.raises(InputError, match=r"synthetic-over-real.*published by one\.try1-00, from file:///d"):
        publish(store, staged(store, "two.try1-00", synthetic=True))
    assert store.read_summary(MAY) == {"attempt": "one.try1-00"}


def test_made_up_rows_do_not_replace_a_month_that_does_not_say_what_it_is(store) -> None:
    publish(store, staged(store, "one.try1-00", synthetic=True))
    (store.published(MAY).location / "report.json").write_text("{}")
    with pytest.raises(InputError, match=r"synthetic-over-real.*cannot be read"):
        publish(store, staged(store, "two.try1-00", synthetic=True))


def test_a_try_without_a_report_replaces_nothing(store) -> None:
    publish(store, staged(store, "one.try1-00", synthetic=False))
    staging = staged(store, "two.try1-00", synthetic=True)
    (staging / "report.json").unlink()
    with pytest.raises(ResultError):
        publish(store, staging)
    assert store.read_summary(MAY) == {"attempt": "one.try1-00"}


def test_publishing_the_same_try_again_is_no_replacement(store) -> None:
    staging = staged(store, "one.try1-00", synthetic=True)
    publish(store, staging)
    publish(store, staging)
    assert store.read_summary(MAY) == {"attempt": "one.try1-00"}
