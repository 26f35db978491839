"""How Spark is started on Kubernetes: nothing that the agent refuses, memory that adds up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confidential_spark.agent.launch.allowed_settings import allowed_jvm_option
from confidential_spark.core.errors import ConfigurationError
from confidential_spark.enclave.spark import SparkInstallation
from confidential_spark.platforms.kubernetes.names import (
    BLOCK_MANAGER_PORT,
    DRIVER_PORT,
    TryNames,
)
from confidential_spark.platforms.kubernetes.spark_conf import ExecutorPlan, driver_runtime, scratch_bytes

from tests.support.launch_settings import allowed_spark_setting

INSTALLATION = SparkInstallation(
    java=Path("/opt/jre/bin/java"), spark_home=Path("/opt/spark"), python=Path("/opt/python/bin/python3")
)
PLAN = ExecutorPlan(count=3, cores=2, memory="2g", cpu_request="500m", input_bytes=0)
MEBIBYTE = 1024 * 1024
NAMES = TryNames.of("nytaxi", "nonce")


def runtime(**fields: Any) -> Any:
    given: dict[str, Any] = {
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
    chosen = runtime(image=image, memory="4g", executors=replace(PLAN, memory="4g", input_bytes=10**9))
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
    assert replace(PLAN, cores=1, cpu_request=cpu).cpu_limit == cores


def test_partitions_follow_from_all_executors() -> None:
    assert runtime().spark_conf["spark.sql.shuffle.partitions"] == "6"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        pytest.param({"memory": "1g"}, "memory-too-small", id="driver-too-small"),
        pytest.param({"memory": "two"}, "memory-malformed", id="driver-malformed"),
        pytest.param(
            {"executors": replace(PLAN, memory="1855m")}, "memory-too-small", id="executor-too-small"
        ),
    ],
)
def test_what_cannot_run_is_refused_before_anything_starts(fields: dict[str, Any], code: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        runtime(**fields)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("input_bytes", "scratch"),
    [
        pytest.param(0, 1024, id="no-input"),
        pytest.param(512 * MEBIBYTE, 1024, id="beside-sparks-part"),
        pytest.param(512 * MEBIBYTE + 1, 1025, id="one-byte-more"),
        pytest.param(10**10, 512 + 9537, id="ten-gigabytes"),
    ],
)
def test_a_copy_of_the_input_leaves_spark_its_part_of_the_scratch_space(input_bytes, scratch) -> None:
    assert scratch_bytes(input_bytes) == scratch * MEBIBYTE


@pytest.mark.parametrize("more", [0, 1, 300], ids=["none", "one-more", "many-more"])
def test_the_smallest_pods_that_hold_a_copy_of_the_input(more: int) -> None:
    """Refused before anything is made, with the number that would do."""
    read = (512 + more) * MEBIBYTE
    executor = replace(PLAN, memory=f"{1856 + more}m", input_bytes=read)
    assert executor.heap == 512
    assert executor.heap + executor.overhead == 1856 + more
    chosen = runtime(memory=f"{2048 + more}m", executors=executor)
    assert chosen.memory.total == 1024

    with pytest.raises(ConfigurationError, match=rf"at least {1856 + more}m.*takes {512 + more}m") as small:
        runtime(executors=replace(executor, memory=f"{1855 + more}m"), memory="4g")
    assert "CONFIDENTIAL_SPARK_AKS_EXECUTOR_MEMORY" in str(small.value)
    with pytest.raises(ConfigurationError, match=rf"at least {2048 + more}m.*takes {512 + more}m") as small:
        runtime(executors=executor, memory=f"{2047 + more}m")
    assert "CONFIDENTIAL_SPARK_AKS_DRIVER_MEMORY" in str(small.value)
