"""Single tasks on a result store of their own; only the task instance is a fake."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from confidential_spark.core import base64url
from confidential_spark.core.errors import ResultError
from confidential_spark.hooks.results.folder_store import FolderStore
from confidential_spark.hooks.results.store import REQUIRED_FILES
from confidential_spark.jobs.nytaxi import NYTAXI
from confidential_spark.jobs.sparkpi import SPARKPI
from confidential_spark.operators.attempt import EnclaveRun
from confidential_spark.operators.attestation import MintNonceOperator
from confidential_spark.operators.base import ConfidentialOperator, run_scope
from confidential_spark.operators.publish import CleanStagingOperator
from confidential_spark.settings import forget_settings, get_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

RUN_ID = "manual__2018-06-01T00:00:00+00:00"


class FakeTaskInstance(SimpleNamespace):
    """What a task sees of its instance: who it is, and XComs."""

    def __init__(self, **values: Any) -> None:
        super().__init__(
            dag_id="nytaxi_local", task_id="task", run_id=RUN_ID, try_number=1, xcoms={}, **values
        )

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value

    def xcom_pull(self, task_ids: str, key: str) -> Any:
        return self.xcoms.get(key)


@pytest.fixture
def context() -> Any:
    params = {"month": "2018-05", "publish": True, "partitions": 1}
    return {
        "ti": FakeTaskInstance(),
        "dag": SimpleNamespace(params=params),
        "params": params,
        "dag_run": SimpleNamespace(run_after=datetime.now(UTC), conf={}),
    }


@pytest.fixture
def store(tmp_path, monkeypatch) -> Iterator[FolderStore]:
    monkeypatch.setenv("CONFIDENTIAL_SPARK_RESULTS_DIR", str(tmp_path))
    forget_settings()
    yield FolderStore(tmp_path, "nytaxi_local")
    forget_settings()


def prepare(context: Any) -> EnclaveRun:
    return EnclaveRun.prepare(context, run_scope(context, NYTAXI), NYTAXI, get_settings())


def clean(context: Any) -> None:
    CleanStagingOperator(task_id="clean_staging", job=NYTAXI).run(context, run_scope(context, NYTAXI))


def attempts(root: Path) -> list[Path]:
    return sorted(root.glob("*/.staging/*/*"))


def test_each_nonce_is_new_and_has_32_bytes(context) -> None:
    task = MintNonceOperator(task_id="mint_nonce", job=SPARKPI)
    minted = [task.run(context, run_scope(context, SPARKPI)) for _ in range(2)]
    assert [len(base64url.decode(each["nonce"])) for each in minted] == [32, 32]
    assert minted[0]["nonce"] != minted[1]["nonce"]
    assert datetime.fromisoformat(minted[0]["minted_at"]) <= datetime.now(UTC)


def test_a_try_is_written_down_before_anything_is_launched(store, context) -> None:
    run = prepare(context)
    assert EnclaveRun.from_xcom(context["ti"].xcoms["enclave_run"]) == run
    assert Path(run.staging).is_dir()
    assert run.key == "month=2018-05"


def test_a_second_try_of_a_run_replaces_the_first_with_a_new_nonce(store, context, tmp_path) -> None:
    first, second = prepare(context), prepare(context)
    assert first.nonce != second.nonce
    assert not Path(first.staging).exists()
    assert Path(second.staging).is_dir()


def test_cleaning_removes_the_try_and_no_other(store, context, tmp_path) -> None:
    other = store.stage("month=2018-05", "scheduled__2018-06-01.try1-00")
    run = prepare(context)
    (Path(run.staging) / "half").write_text("written")
    clean(context)
    assert attempts(tmp_path) == [other, other.with_name(f"{other.name}.lock")]


def test_cleaning_twice_or_nothing_is_fine(store, context, tmp_path) -> None:
    clean(context)
    prepare(context)
    clean(context)
    clean(context)
    assert attempts(tmp_path) == []


def test_cleaning_removes_what_the_results_folder_keeps_no_longer(store, context, monkeypatch) -> None:
    monkeypatch.setenv("CONFIDENTIAL_SPARK_RESULTS_GRACE_HOURS", "2")
    forget_settings()
    for attempt in ("old.1", "new.1"):
        staging = store.stage("month=2017-01", attempt)
        for name in REQUIRED_FILES:
            (staging / name).write_text("{}")
        store.publish(staging)
    new = store.published("month=2017-01")
    clean(context)
    assert new.location.with_name("old.1").is_dir()
    three_hours_ago = time.time() - 3 * 3600
    os.utime(new.location.with_name("old.1.replaced"), (three_hours_ago, three_hours_ago))
    clean(context)
    assert [path.name for path in new.location.parent.iterdir()] == ["new.1"]


def test_cleaning_waits_for_a_task_that_is_still_being_ended(store, context, tmp_path) -> None:
    run = prepare(context)
    with store.hold(run.staging), pytest.raises(ResultError, match="try-in-use") as refusal:
        clean(context)
    assert refusal.value.retryable
    clean(context)
    assert attempts(tmp_path) == []


def test_an_operator_turns_refusals_into_final_failures(store, context) -> None:
    context["params"]["month"] = "2098-01"

    class Task(ConfidentialOperator):
        def run(self, context: Any, scope: Any) -> None:
            raise AssertionError("a refused run does nothing")

    with pytest.raises(AirflowFailException, match=r"\[month-not-over\]"):
        Task(task_id="a_task", job=NYTAXI).execute(context)
