"""The settings file: what it may contain, and what loading it does to a real database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scripts.load_settings import apply, read_settings
from tests.support.places import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def write(folder: Path, text: str) -> Path:
    path = folder / "airflow_settings.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("airflow: [", "not YAML", id="not-yaml"),
        pytest.param("[]", "not a settings file", id="a-list"),
        pytest.param("airflow:\n  pool: []\n", "airflow.pool: Extra inputs", id="unknown-key"),
        pytest.param("airflow:\n  pools: [{pool_name: x, pool_slot: none}]\n", "pool_slot", id="wrong-type"),
        pytest.param(
            "airflow:\n  connections: [{conn_id: a, conn_type: http, conn_extra: {k: v}}]\n",
            "conn_extra",
            id="extra-as-a-map",
        ),
    ],
)
def test_refuses_a_wrong_file_naming_the_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        read_settings(write(tmp_path, text))


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        pytest.param("conn_password: canary", "connection trips: conn_password", id="password"),
        pytest.param("""conn_extra: '{"sas_token": "sig=canary"}'""", "conn_extra: a SAS token", id="sas"),
        pytest.param(
            """conn_extra: '{"client_secret": "canary"}'""", "conn_extra: client_secret", id="by-name"
        ),
        pytest.param("conn_uri: wasb://trips:canary@", "conn_uri: a password in an address", id="uri"),
        pytest.param("conn_login: sp=r&sig=canary", "conn_login: a SAS token", id="wrong-field"),
    ],
)
def test_refuses_a_secret_naming_the_place_only(tmp_path: Path, entry: str, said: str) -> None:
    text = f"airflow:\n  connections:\n  - conn_id: trips\n    conn_type: wasb\n    {entry}\n"
    with pytest.raises(SystemExit, match=said) as refusal:
        read_settings(write(tmp_path, text))
    assert "canary" not in str(refusal.value)


def test_refuses_a_variable_that_looks_like_a_secret(tmp_path: Path) -> None:
    text = "airflow:\n  variables: [{variable_name: v1, variable_value: 'sp=r&sig=canary'}]\n"
    with pytest.raises(SystemExit, match="variable v1: a SAS token"):
        read_settings(write(tmp_path, text))


def test_paths_of_keys_are_no_secrets(tmp_path: Path) -> None:
    extra = """conn_extra: '{"tls_client_key": "/keys/client.pem", "private_key": ""}'"""
    text = f"airflow:\n  connections:\n  - conn_id: engine\n    conn_type: docker\n    {extra}\n"
    assert len(read_settings(write(tmp_path, text)).connections) == 1


def test_refuses_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="cannot read"):
        read_settings(tmp_path / "absent.yaml")


def test_the_projects_own_file_has_every_pool_a_platform_needs() -> None:
    from confidential_spark.core.platforms import Platform
    from confidential_spark.pipelines.defaults import enclave_pool

    pools = {entry.pool_name for entry in read_settings(ROOT / "airflow_settings.yaml").pools}
    assert enclave_pool(Platform.LOCAL) in pools


def test_the_projects_own_file_holds_no_secret() -> None:
    for entry in read_settings(ROOT / "airflow_settings.yaml").connections:
        assert entry.conn_password is None
        assert entry.conn_uri is None


FIRST = """
airflow:
  connections: [{conn_id: c1, conn_type: http, conn_host: "https://one.example"}]
  pools: [{pool_name: p1, pool_slot: 1}]
  variables: [{variable_name: v1, variable_value: one}]
"""
SECOND = FIRST.replace("one", "two").replace("pool_slot: 1", "pool_slot: 5")


def state() -> tuple[str | None, int, str]:
    from airflow.models.connection import Connection
    from airflow.models.pool import Pool
    from airflow.models.variable import Variable
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        return (
            session.scalar(select(Connection).where(Connection.conn_id == "c1")).host,
            session.scalar(select(Pool).where(Pool.pool == "p1")).slots,
            session.scalar(select(Variable).where(Variable.key == "v1")).val,
        )


def load(path: Path, *, overwrite: bool) -> list[str]:
    from airflow.utils.session import create_session

    with create_session() as session:
        return apply(read_settings(path), session, overwrite=overwrite)


def test_loading_again_resizes_pools_and_keeps_what_somebody_may_have_edited(
    airflow_database, tmp_path
) -> None:
    load(write(tmp_path, FIRST), overwrite=True)
    assert state() == ("https://one.example", 1, "one")
    said = load(write(tmp_path, SECOND), overwrite=False)
    assert state() == ("https://one.example", 5, "one")
    assert "connection c1: kept as it is" in said
    load(write(tmp_path, SECOND), overwrite=True)
    assert state() == ("https://two.example", 5, "two")
