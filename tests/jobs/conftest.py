"""The jobs as modules, and one JVM with the runner for all tests that can share it."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.support.job_runs import JobRuns, load
from tests.support.runner_jvm import RunnerCalls

# At the interpreter's end it would report its closed connection to a stream that pytest has closed before.
logging.getLogger("py4j").setLevel(logging.WARNING)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType


@pytest.fixture(scope="session")
def nytaxi() -> ModuleType:
    return load("nytaxi")


@pytest.fixture(scope="session")
def demand() -> ModuleType:
    return load("nytaxi_demand")


@pytest.fixture(scope="session")
def sparkpi() -> ModuleType:
    return load("sparkpi")


@pytest.fixture
def runs(runner_calls, tmp_path) -> Callable[[ModuleType], JobRuns]:
    """Return what runs a job in the shared JVM."""
    return partial(JobRuns, calls=runner_calls, folder=tmp_path)


@pytest.fixture(scope="session")
def runner_calls(tmp_path_factory) -> Iterator[RunnerCalls]:
    calls = RunnerCalls(tmp_path_factory.mktemp("runner"))
    yield calls
    calls.close()
