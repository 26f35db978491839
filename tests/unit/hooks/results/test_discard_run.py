"""What becomes of the tries of a run that is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from confidential_spark.hooks.results.folder_store import FolderStore
from confidential_spark.hooks.results.store import KEPT_REFUSED

if TYPE_CHECKING:
    from pathlib import Path

KEY = "month=2018-05"
RUN = "scheduled-2018-06-01-0a1b2c3d"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path, "nytaxi_local")


def stage(store: FolderStore, attempt: str, *, signed: bool) -> Path:
    staging = store.stage(KEY, attempt)
    (staging / "summary.json").write_text("{}")
    if signed:
        (staging / "envelope.json").write_text("{}")
    return staging


def refused(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in tmp_path.glob(f"nytaxi_local/.refused/{KEY}/*"))


@pytest.mark.parametrize(
    ("signed", "keep_signed", "kept"),
    [
        pytest.param(True, True, [f"{RUN}.try1"], id="signed-and-wanted"),
        pytest.param(True, False, [], id="signed-and-not-wanted"),
        pytest.param(False, True, [], id="the-enclave-failed"),
    ],
)
def test_keeps_what_the_enclave_signed_when_asked_to(store, tmp_path, signed, keep_signed, kept) -> None:
    staging = stage(store, f"{RUN}.try1", signed=signed)
    store.discard_run(KEY, RUN, keep_signed=keep_signed)
    assert refused(tmp_path) == kept
    assert not staging.exists()
    assert not list(tmp_path.glob("nytaxi_local/.staging/*/*"))


def test_leaves_another_run_alone(store) -> None:
    other = stage(store, "manual-9f8e7d6c.try1", signed=True)
    store.discard_run(KEY, RUN)
    assert other.exists()


def test_leaves_a_try_that_somebody_holds(store) -> None:
    staging = stage(store, f"{RUN}.try1", signed=True)
    with store.hold(staging):
        store.discard_run(KEY, RUN)
    assert staging.exists()


def test_keeps_only_the_latest(store, tmp_path) -> None:
    for number in range(KEPT_REFUSED + 2):
        stage(store, f"{RUN}.try{number}", signed=True)
        store.discard_run(KEY, RUN, keep_signed=True)
    assert refused(tmp_path) == [f"{RUN}.try{number}" for number in range(2, KEPT_REFUSED + 2)]
