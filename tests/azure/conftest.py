"""Azurite in place of Azure Storage: the real protocol, and blobs of real months."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from azure.storage.blob import generate_container_sas

from tests.integration.conftest import results_dir, run_dag  # noqa: F401 - fixtures
from tests.support.azure.azurite import ACCOUNT, KEY, NoAzuriteError, azurite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.azure.azurite import Azurite


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/azure/" in item.path.as_posix():
            item.add_marker(pytest.mark.azure)


@pytest.fixture(scope="session")
def storage(tmp_path_factory) -> Iterator[Azurite]:
    """An emulator for the session."""
    try:
        with azurite(tmp_path_factory.mktemp("azurite")) as running:
            yield running
    except NoAzuriteError as error:
        pytest.skip(f"!!! NOT TESTED: no Azurite: {error}")


@pytest.fixture(scope="session")
def upload(storage) -> Callable[..., str]:
    """Uploads a tree of files to a container and returns its name."""

    def upload(container: str, tree: Path, prefix: str = "") -> str:
        client = storage.client().create_container(container)
        for path in sorted(path for path in tree.rglob("*") if path.is_file()):
            with path.open("rb") as file:
                client.upload_blob(f"{prefix}{path.relative_to(tree).as_posix()}", file)
        return container

    return upload


@pytest.fixture
def connect(storage, monkeypatch, deploy) -> Callable[..., None]:
    """Gives the deployment the emulator, and a connection with these fields."""

    def connect(*, kind: str = "wasb", **fields: object) -> None:
        said = {"conn_type": kind, "host": storage.endpoint, **fields}
        monkeypatch.setenv("AIRFLOW_CONN_TRIPS", json.dumps(said))
        deploy(blob_emulator=storage.endpoint, blob_conn_id="trips")

    return connect


@pytest.fixture
def sas() -> Callable[..., str]:
    """Makes SAS tokens of a container."""

    def sas(container: str, permission: str = "rl", starts: float = -1, hours: float = 1) -> str:
        now = datetime.now(UTC)
        return generate_container_sas(
            ACCOUNT,
            container,
            account_key=KEY,
            permission=permission,
            start=now + timedelta(hours=starts),
            expiry=now + timedelta(hours=hours),
        )

    return sas
