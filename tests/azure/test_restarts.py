"""Azurite killed in the middle of a task and started again: the task's next try succeeds."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from confidential_spark.agent.bounded_http import BoundedHttp
from confidential_spark.agent.data import blobs as agent
from confidential_spark.agent.data.blobs import LIMITS, ListedBlob
from confidential_spark.agent.errors import AgentError, ExitCode
from confidential_spark.core.errors import ResultError
from confidential_spark.hooks.results import blob_lease

from tests.azure.results.conftest import MAY, attempt_in, staged
from tests.support.azure.azurite import ACCOUNT, azurite
from tests.support.azure.blob_faults import relay
from tests.support.azure.results import CONTAINER, BlobPlace, Faults
from tests.support.fakes.faulty_service import FaultyService

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.azure.azurite import Azurite

DAG = "nytaxi_local"
PATIENCE_SECONDS = 60
RANGE = 1000


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "azurite").mkdir()
    return tmp_path / "azurite"


def await_saved(home: Path, since: float) -> None:
    """Wait until the emulator has written its two indexes, which it does every few seconds where one changed.

    :param since: before the latest change, and after all that must be kept.
    """
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    indexes = [home / "__azurite_db_blob__.json", home / "__azurite_db_blob_extent__.json"]
    while time.monotonic() < give_up_at:
        if all(index.exists() and index.stat().st_mtime > since for index in indexes):
            return
        time.sleep(0.1)
    raise AssertionError("the emulator has not saved its indexes")


@contextmanager
def restarted(emulator: Azurite) -> Iterator[Azurite]:
    """Start it again, where it was and with what it had."""
    with azurite(emulator.folder, port=int(urlsplit(emulator.endpoint).port or 0)) as again:
        assert again.endpoint == emulator.endpoint
        yield again


class KillsAt(Faults):
    """Kills the emulator before one request."""

    def __init__(self, at: int, emulator: Azurite) -> None:
        # As one whose network is away: its clients do not wait between their tries.
        super().__init__(0, "unsent")
        self.kill_at, self.emulator = at, emulator

    def send(self, request: Any, **kwargs: Any) -> Any:
        if self.count + 1 == self.kill_at:
            self.emulator.kill()
        return super().send(request, **kwargs)


@pytest.mark.parametrize("number", [2, 8, 14, 20])
def test_a_publication_is_whole_after_its_storage_was_killed(home, monkeypatch, number: int) -> None:
    monkeypatch.setattr(blob_lease, "POLL_S", 0.05)
    with azurite(home) as emulator:
        emulator.client().create_container(CONTAINER)
        place = BlobPlace(emulator.endpoint, "spark")
        store = place.results().store(DAG)
        store.publish(staged(store, "old.1"))
        staging = staged(store, "new.1")
        kept = time.time()
        place.write("last", b"last")
        await_saved(home, kept)
        with pytest.raises(ResultError, match="results-unreachable") as caught:
            place.results(KillsAt(number, emulator)).store(DAG).publish(staging)
        assert caught.value.retryable
    with restarted(emulator):
        assert attempt_in(store.current(MAY)) == "old.1"
        place.expire_leases()
        assert attempt_in(store.publish(staging).version) == "new.1"
        assert attempt_in(store.current(MAY)) == "new.1"
        assert not [name for name in place.names() if ".staging" in name]


def test_a_download_succeeds_after_its_storage_was_killed(home, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(agent, "RANGE_BYTES", RANGE)
    content = os.urandom(3 * RANGE)
    with azurite(home) as emulator:
        container = emulator.client().create_container("trips", public_access="blob")
        etag = container.get_blob_client("yellow/a.parquet").upload_blob(content)["etag"].strip('"')
        kept = time.time()
        container.upload_blob("last", b"last")
        await_saved(home, kept)
        listed, passed_on = [ListedBlob("a.parquet", len(content), etag)], relay(emulator.endpoint)

        def killed_after_the_first(request, headers):
            if len(service.requests) == 2:
                emulator.kill()
            return passed_on(request, headers)

        with FaultyService(proper=killed_after_the_first) as service:
            limits = replace(LIMITS, attempts=2)
            http = BoundedHttp(f"{service.url}/{ACCOUNT}/trips/yellow", limits, sleep=lambda _: None)
            (tmp_path / "first").mkdir()
            with pytest.raises(AgentError, match="storage-unreachable") as caught:
                agent.download(http, listed, tmp_path / "first")
            assert caught.value.exit_code is ExitCode.SERVICE_UNAVAILABLE
            with restarted(emulator):
                (tmp_path / "second").mkdir()
                (file,) = agent.download(http, listed, tmp_path / "second")
    assert file.sha256 == hashlib.sha256(content).hexdigest()
    assert (tmp_path / "second" / "a.parquet").read_bytes() == content
