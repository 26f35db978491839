"""How long a client of an account tries."""

from __future__ import annotations

import socket

import pytest
from azure.core.pipeline.transport import HttpTransport
from confidential_spark.core.errors import ResultError
from confidential_spark.hooks.results.location import result_store


@pytest.fixture
def waits(monkeypatch) -> list[float]:
    """What clients would have waited between two tries, in seconds."""
    waits: list[float] = []
    monkeypatch.setattr(HttpTransport, "sleep", lambda self, seconds: waits.append(seconds))
    return waits


def test_an_account_that_refuses_connections_is_left_within_seconds(deploy, waits):
    """A clean-up asks several times; each time counts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}/devstoreaccount1"
        deploy(blob_emulator=endpoint)
        store = result_store(f"{endpoint}/results/spark", "nytaxi_local")
        with pytest.raises(ResultError, match="results-unreachable") as caught:
            store.discard_run("month=2018-05", "run")
    assert caught.value.retryable
    assert len(waits) == 1
    assert sum(waits) <= 4
