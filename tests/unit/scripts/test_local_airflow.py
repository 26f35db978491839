"""The local Airflow's folder: who may read it, and what it must have."""

from __future__ import annotations

import stat
from collections import namedtuple
from typing import TYPE_CHECKING

import pytest
from confidential_spark.core.errors import ConfigurationError

from scripts import local_airflow

if TYPE_CHECKING:
    from pathlib import Path

DiskUsage = namedtuple("DiskUsage", "total used free")


@pytest.fixture
def without_key(monkeypatch) -> None:
    monkeypatch.delenv(local_airflow.FERNET_KEY, raising=False)


def test_nobody_else_may_read_database_and_password(tmp_path: Path) -> None:
    home = tmp_path / "airflow"
    local_airflow.open_lock(home, "run.lock").close()
    for name in local_airflow.PRIVATE_FILES:
        (home / name).chmod(0o644)
    local_airflow.open_lock(home, "run.lock").close()
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    for name in local_airflow.PRIVATE_FILES:
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600


def test_a_folder_that_cannot_be_written_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("")
    with pytest.raises(ConfigurationError, match=r"home-not-writable.*var.*checkout of your own"):
        local_airflow.open_lock(tmp_path / "var" / "airflow", "run.lock")


def test_a_full_disk_is_refused_by_name(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(local_airflow.shutil, "disk_usage", lambda path: DiskUsage(2**20, 2**19, 2**19))
    with pytest.raises(ConfigurationError, match=r"disk-full.*0.5 MiB free.*16 MiB or more"):
        local_airflow.open_lock(tmp_path, "run.lock")


@pytest.mark.parametrize(
    ("config", "database", "variable"),
    [
        pytest.param("[core]\nfernet_key = \n", "", None, id="empty-in-the-file"),
        pytest.param("[core]\n", "", None, id="not-in-the-file"),
        pytest.param(None, "rows", None, id="file-lost"),
        pytest.param("[core]\nfernet_key = secret\n", "rows", "", id="empty-variable"),
    ],
)
def test_a_missing_fernet_key_is_refused(
    tmp_path: Path, monkeypatch, without_key, config: str | None, database: str, variable: str | None
) -> None:
    write(tmp_path, config, database)
    if variable is not None:
        monkeypatch.setenv(local_airflow.FERNET_KEY, variable)
    with pytest.raises(ConfigurationError, match="fernet-key-missing") as refusal:
        local_airflow.prepare(tmp_path)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("config", "database", "variable"),
    [
        pytest.param("[core]\nfernet_key = key\n", "rows", None, id="in-the-file"),
        pytest.param(None, "", None, id="nothing-there-yet"),
        pytest.param(None, "rows", "key", id="variable"),
    ],
)
def test_where_there_is_a_key_or_will_be_one_it_goes_on(
    tmp_path: Path, monkeypatch, without_key, config: str | None, database: str, variable: str | None
) -> None:
    write(tmp_path, config, database)
    if variable is not None:
        monkeypatch.setenv(local_airflow.FERNET_KEY, variable)
    local_airflow.require_fernet_key(tmp_path)


def write(home: Path, config: str | None, database: str) -> None:
    (home / "airflow.db").write_text(database)
    if config is not None:
        (home / "airflow.cfg").write_text(config)
