"""How Spark is started on Kubernetes: nothing that the agent refuses, memory that adds up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from confidential_spark.agent.launch.allowed_settings import allowed_jvm_option, allowed_spark_setting
from confidential_spark.core.errors import ConfigurationError
from confidential_spark.enclave.spark import SparkInstallation
from confidential_spark.platforms.kubernetes.names import (
    BLOCK_MANAGER_PORT,
    DRIVER_PORT,
    TryNames,
)
from confidential_spark.platforms.kubernetes.spark_conf import ExecutorPlan, driver_runtime

INSTALLATION = SparkInstallation(
    java=Path("/opt/jre/bin/java"), spark_home=Path("/opt/spark"), python=Path("/opt/python/bin/python3")
)
PLAN = ExecutorPlan(count=3, cores=2, memory="2g", cpu_request="500m")
NAMES = TryNames.of("nytaxi", "nonce")


def runtime(**fields: Any) -> Any:
    given: dict[str, Any] = {
        "input_bytes": 0,
        "memory": "2g",
        "installation": INSTALLATION,
        "executors": PLAN,
        "image": "registry.example/enclave@sha256:" + "1a" * 32,
        "namespace": "confidential-spark",
        "names": NAMES,
    }
    return driver_runtime(**{**given, **fields})


@pytest.mark.parametrize("image", ["sha256:" + "1a" * 32, "registry.example:5000/a/b@sha256:" + "1a" * 32])
def test_the_agent_accepts_every_setting(image: str) -> None:
    chosen = runtime(image=image, input_bytes=10**9)
    refused = {n: v for n, v in chosen.spark_conf.items() if not allowed_spark_setting(n, v)}
    assert refused == {}
    assert all(allowed_jvm_option(option) for option in chosen.jvm_options)


def test_the_address_is_the_agents_to_choose() -> None:
    assert not {"spark.driver.host", "spark.driver.bindAddress"} & runtime().spark_conf.keys()


def test_ports_are_those_of_the_network_policies() -> None:
    conf = runtime().spark_conf
    assert conf["spark.driver.port"] == str(DRIVER_PORT)
    assert conf["spark.blockManager.port"] == str(BLOCK_MANAGER_PORT)


def test_the_pod_of_an_executor_is_exactly_as_large_as_asked() -> None:
    conf = runtime().spark_conf
    parts = ("spark.executor.memory", "spark.executor.memoryOverhead")
    assert sum(int(conf[part].removesuffix("m")) for part in parts) == 2048
    assert conf["spark.kubernetes.executor.limit.cores"] == "2"


@pytest.mark.parametrize(("cpu", "cores"), [("100m", 1), ("1000m", 1), ("1001m", 2), ("3", 3)])
def test_a_limit_is_never_below_its_request(cpu: str, cores: int) -> None:
    assert ExecutorPlan(count=1, cores=1, memory="2g", cpu_request=cpu).cpu_limit == cores


def test_partitions_follow_from_all_executors() -> None:
    assert runtime().spark_conf["spark.sql.shuffle.partitions"] == "6"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        pytest.param({"memory": "1g"}, "memory-too-small", id="driver-too-small"),
        pytest.param({"memory": "two"}, "memory-malformed", id="driver-malformed"),
        pytest.param(
            {"executors": ExecutorPlan(count=1, cores=1, memory="1855m", cpu_request="1")},
            "memory-too-small",
            id="executor-too-small",
        ),
    ],
)
def test_what_cannot_run_is_refused_before_anything_starts(fields: dict[str, Any], code: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        runtime(**fields)
    assert refused.value.code == code


def test_the_smallest_executor() -> None:
    smallest = ExecutorPlan(count=1, cores=1, memory="1856m", cpu_request="1")
    assert smallest.heap == 512
