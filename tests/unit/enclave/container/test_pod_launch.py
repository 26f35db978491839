"""The launch file in a pod: completed with what only the pod knows."""

from __future__ import annotations

import json

import pytest
from confidential_spark.agent.launch.launch_file import EXECUTOR_FORMS, parse_launch
from confidential_spark.enclave.container.pod_launch import EXECUTOR_VARIABLES, completed, main

LAUNCH = {
    "v": 1,
    "nonce": "A" * 43,
    "run_id": "sparkpi_aks/run",
    "results_dir": "/host/data/results",
    "attestation_url": "https://maa.example",
    "attestation_api_version": "2022-08-01",
    "quote_provider": "occlum",
}
# As Spark 3.5.9 sets them in an executor's pod.
POD = {
    "POD_IP": "10.244.0.7",
    "SPARK_APPLICATION_ID": "spark-5f0c0e1a",
    "SPARK_EXECUTOR_CORES": "1",
    "SPARK_DRIVER_URL": "spark://CoarseGrainedScheduler@10.244.0.6:7078",
    "SPARK_EXECUTOR_ID": "1",
    "SPARK_EXECUTOR_MEMORY": "704m",
    "SPARK_EXECUTOR_POD_NAME": "sparkpi-0f-exec-1",
    "SPARK_RESOURCE_PROFILE_ID": "0",
}


def test_the_agent_accepts_an_executors_launch() -> None:
    spec = parse_launch(json.dumps(completed(LAUNCH, "executor", POD)).encode())
    assert (spec.pod_ip, spec.executor["executor_id"]) == ("10.244.0.7", "1")


def test_every_member_that_the_agent_wants_has_a_variable() -> None:
    assert EXECUTOR_VARIABLES.keys() == EXECUTOR_FORMS.keys()


def test_a_driver_gets_its_address_only() -> None:
    assert completed(LAUNCH, "run", POD) == {**LAUNCH, "pod_ip": "10.244.0.7"}


@pytest.mark.parametrize("missing", ["POD_IP", "SPARK_DRIVER_URL"])
def test_a_variable_that_is_missing_is_named(missing, tmp_path, monkeypatch, capsys) -> None:
    launch = tmp_path / "launch.json"
    launch.write_text(json.dumps(LAUNCH))
    for name, value in POD.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv(missing)
    assert main("executor", launch) == 65
    assert (
        f"[launch-incomplete] The pod does not know its part of the launch · got: KeyError('{missing}')"
        in (capsys.readouterr().err)
    )
    assert json.loads(launch.read_text()) == LAUNCH


@pytest.mark.parametrize("content", ["", "[]", "{", "1"])
def test_a_launch_file_that_is_none_is_refused(content, tmp_path, monkeypatch, capsys) -> None:
    launch = tmp_path / "launch.json"
    launch.write_text(content)
    monkeypatch.setenv("POD_IP", "10.0.0.1")
    assert main("run", launch) == 65
    assert "launch-incomplete" in capsys.readouterr().err
