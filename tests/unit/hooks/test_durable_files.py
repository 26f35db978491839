"""What the operating system refuses is named, with the file that it was about."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from confidential_spark.core.errors import ResultError
from confidential_spark.core.platforms import Platform
from confidential_spark.hooks.durable_files import storage_errors, write_staged
from confidential_spark.operators import verify

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def full(tmp_path) -> Path:
    """A folder in which every write of `evidence.json` finds the disk full."""
    (tmp_path / "evidence.json").symlink_to("/dev/full")
    return tmp_path


def test_a_full_disk_is_named_with_the_file(full) -> None:
    with pytest.raises(ResultError, match=r"\[disk-full\].*write evidence\.json") as caught:
        write_staged(full / "evidence.json", b"{}")
    assert caught.value.got == f"No space left on device: {full / 'evidence.json'}"


def test_a_refusal_without_a_file_names_none() -> None:
    with pytest.raises(ResultError, match=r"results-unwritable") as caught, storage_errors("stage results"):
        raise OSError(5, os.strerror(5))
    assert caught.value.got == "Input/output error"


def test_verification_on_a_full_disk_is_named(full, monkeypatch) -> None:
    monkeypatch.setattr(verify, "complete_evidence", lambda staging, collateral, keys: b"{}")
    operator = verify.VerifyEvidenceOperator(
        task_id="verify_evidence", job=None, platform=Platform.LOCAL, run_result={}, image={}
    )
    with pytest.raises(ResultError, match="disk-full"):
        operator.verify(SimpleNamespace(), SimpleNamespace(), full)
