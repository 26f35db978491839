"""One isolated Airflow home for the whole session; nothing of the developer's own is read or written."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.support.places import ROOT, SHARED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_HOME = Path(tempfile.mkdtemp(prefix="confidential-spark-tests-"))
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)

# How fast inputs are made depends on the machine's other work, and is nothing to fail for.
settings.register_profile("project", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("project")

# Fixtures of the files that take minutes.
LONG = {"machine", "fake", "spark", "run_dag"}

# Airflow reads these when it is first imported, so they are set before any test module is.
os.environ.update(
    AIRFLOW_HOME=str(_HOME / "airflow"),
    AIRFLOW__CORE__DAGS_FOLDER=str(ROOT / "dags"),
    AIRFLOW__CORE__PLUGINS_FOLDER=str(ROOT / "plugins"),
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__UNIT_TEST_MODE="False",
    CONFIDENTIAL_SPARK_RESULTS_DIR=str(_HOME / "results"),
    CONFIDENTIAL_SPARK_INPUTS_DIR=str(_HOME / "inputs"),
    CONFIDENTIAL_SPARK_CACHE_DIR=os.environ.get("CONFIDENTIAL_SPARK_CACHE_DIR", str(ROOT / "var" / "cache")),
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that the processes that share the tests end together."""
    long = {item.path for item in items if LONG & set(getattr(item, "fixturenames", ()))}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture
def deploy(monkeypatch) -> Iterator[Callable[..., None]]:
    """Gives the deployment settings, by the names of their variables: ``deploy(aks_epc="1GB")``."""
    from confidential_spark.settings import forget_settings

    from tests.support.deployment import set_settings

    yield partial(set_settings, monkeypatch)
    forget_settings()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the repository, where there is one."""
    if not (SHARED / "data").is_dir():
        pytest.skip("real TLC data is not on this machine: ../shared/data is absent")
    return SHARED / "data"


@pytest.fixture(scope="session")
def attestation_cases() -> Path:
    """The folder of real MAA tokens and SGX quotes beside the repository, where there is one."""
    if not (SHARED / "attestation-cases").is_dir():
        pytest.skip("real attestation material is not on this machine: ../shared/attestation-cases is absent")
    return SHARED / "attestation-cases"


@pytest.fixture(scope="session")
def airflow_database() -> Path:
    """A migrated SQLite database with this project's pools; returns the Airflow home."""
    from airflow.utils import db
    from airflow.utils.session import create_session

    from scripts.load_settings import apply, read_settings

    db.initdb()
    with create_session() as session:
        apply(read_settings(ROOT / "airflow_settings.yaml"), session, overwrite=True)
    return _HOME / "airflow"
