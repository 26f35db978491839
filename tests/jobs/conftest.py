"""The jobs as modules, and one Spark session for all tests that can share it."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
from typing import TYPE_CHECKING

import pytest
from confidential_spark.enclave.java import find_java
from confidential_spark.enclave.spark import spark_settings

from tests.support.places import ROOT
from tests.support.runner_jvm import RunnerCalls

# At the interpreter's end it would report its closed connection to a stream that pytest has closed before.
logging.getLogger("py4j").setLevel(logging.WARNING)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from pyspark.sql import SparkSession

JOBS = ROOT / "include" / "jobs"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"job_{name}", JOBS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def nytaxi() -> ModuleType:
    return load("nytaxi")


@pytest.fixture(scope="session")
def spark(nytaxi, tmp_path_factory) -> Iterator[SparkSession]:
    from pyspark import SparkConf, SparkContext

    os.environ["JAVA_HOME"] = str(find_java().path.parent.parent)
    os.environ["SPARK_LOCAL_DIRS"] = str(tmp_path_factory.mktemp("spark"))
    # A local time zone of the machine must not move an hour.
    os.environ["TZ"] = "America/New_York"
    conf = SparkConf().setAll(spark_settings(cores=2, small=True).items())
    SparkContext.getOrCreate(conf).setLogLevel("ERROR")
    session = nytaxi.start_spark()
    yield session
    session.stop()


@pytest.fixture(scope="session")
def runner_calls(tmp_path_factory) -> Iterator[RunnerCalls]:
    calls = RunnerCalls(tmp_path_factory.mktemp("runner"))
    yield calls
    calls.close()
