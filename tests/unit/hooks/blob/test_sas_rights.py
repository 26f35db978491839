"""What a connection's SAS token allows beyond a run, as it says itself."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from confidential_spark.hooks.blob import run_input
from confidential_spark.hooks.blob.sas_rights import excess_rights, expires_early

ENDS = datetime(2026, 11, 29, 18, tzinfo=UTC)
SOON = "se=2026-11-29T20%3A00Z"


@pytest.mark.parametrize(
    ("sas", "found"),
    [
        pytest.param("", [], id="anybody"),
        pytest.param(f"sv=2025-11-05&sr=c&sp=rl&{SOON}&sig=x", [], id="what-it-takes"),
        pytest.param(f"sr=d&sdd=1&sp=rl&{SOON}&sig=x", [], id="a-folder"),
        pytest.param(
            f"sr=c&sp=racwdl&{SOON}&sig=x", ["add", "create", "write", "delete"], id="a-container-to-write"
        ),
        pytest.param(f"sr=c&sp=rlz&{SOON}&sig=x", ["sp='z'"], id="a-right-of-tomorrow"),
        pytest.param(f"ss=b&srt=co&sp=rl&{SOON}&sig=x", ["all containers of the account"], id="account"),
        pytest.param(
            f"ss=bfqt&srt=sco&sp=rwdlacupyx&{SOON}&sig=x",
            [
                *("write", "delete", "add", "create", "update", "change permissions", "delete for good"),
                *("delete versions", "all containers of the account", "file shares", "queues", "tables"),
            ],
            id="all-of-the-account",
        ),
        pytest.param("sr=c&sp=rl&se=2027-12-31&sig=x", ["until 2027-12-31"], id="for-a-year"),
        pytest.param("sr=c&sp=rl&se=2026-11-30T18%3A00%3A00Z&sig=x", [], id="for-a-day-more"),
        pytest.param("sr=c&si=readers&sig=x", ["whatever its stored access policy allows"], id="policy"),
        pytest.param(
            "sr=c&sp=rl&si=readers&sig=x", ["an end that only its stored access policy knows"], id="no-end"
        ),
        pytest.param("sr=c&sp=rl&se=soon&si=x&sig=x", ["an end that only its stored access policy knows"]),
    ],
)
def test_rights_that_a_month_does_not_take_are_named(sas: str, found: list[str]) -> None:
    assert excess_rights(sas, ENDS) == found


@pytest.mark.parametrize(
    ("sas", "early"),
    [
        pytest.param(f"sp=rl&{SOON}&sig=x", False, id="later"),
        pytest.param("sp=rl&se=2026-11-29T17%3A59Z&sig=x", True, id="before"),
        pytest.param("si=readers&sig=x", False, id="not-told"),
        pytest.param("", False, id="anybody"),
    ],
)
def test_a_token_that_ends_before_the_run_may_is_named(sas: str, early: bool) -> None:
    assert bool(expires_early(sas, ENDS)) is early


def expiring(rights: str, hours: float) -> dict[str, object]:
    """Return the fields of a connection with a SAS token for a container."""
    end = datetime.now(UTC) + timedelta(hours=hours)
    return {"extra": {"sas_token": f"sr=c&sp={rights}&se={end:%Y-%m-%dT%H:%MZ}&sig=c2VjcmV0"}}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param(expiring("rwdl", 3), "more than this run takes: write, delete.", id="wide"),
        pytest.param(expiring("rl", 9_000), "more than this run takes: until 20", id="long"),
        pytest.param(expiring("rl", 0.1), "would be refused", id="short"),
        pytest.param(expiring("rl", 3), None, id="right"),
        pytest.param({"password": "c2VjcmV0"}, None, id="key"),
    ],
)
def test_a_launch_says_so_in_the_tasks_log_without_the_token(
    deploy, monkeypatch, fields: dict[str, object], expected: str | None
) -> None:
    connection = {"conn_type": "wasb", "login": "trips", **fields}
    monkeypatch.setenv("AIRFLOW_CONN_TRIPS", json.dumps(connection))
    deploy(blob_conn_id="trips")
    files = [{"name": "part.parquet", "bytes": 9, "etag": "0x1"}]
    manifest = {"uri": "https://trips.blob.core.windows.net/data/2018-05", "blobs": files}
    told: list[str] = []
    # Airflow's hook sets up logging when it is first imported, which takes what captures it away.
    monkeypatch.setattr(run_input.log, "warning", lambda text, *parts: told.append(text % parts))
    (blob,) = run_input.enclave_blobs(manifest, SimpleNamespace(spark_timeout_minutes=60))
    assert len(told) == (expected is not None)
    assert (expected or "") in "".join(told)
    assert "c2VjcmV0" not in "".join(told)
    if "password" in fields:
        assert {"sp=r", "sr=b"} <= set(blob["sas"].split("&"))
