"""A launch on a Docker engine whose enclave downloads blobs; without an engine."""

from __future__ import annotations

from confidential_spark.agent.protocol import b64url
from confidential_spark.core.months import Month
from confidential_spark.core.platforms import Platform
from confidential_spark.hooks.blob.run_input import files_to_send
from confidential_spark.jobs.nytaxi import NYTAXI
from confidential_spark.operators.attempt import EnclaveRun
from confidential_spark.operators.base import RunScope
from confidential_spark.platforms.docker.spark import EnclaveSparkDockerOperator

from tests.support.azure.azurite import KEY
from tests.unit.platforms.docker.test_enclave import SIMULATED

BLOB = {"name": "a b.parquet", "bytes": 10, "etag": "0x8D4"}


def test_the_enclave_is_told_which_blobs_to_download_and_gets_no_files(connect, storage):
    connect(password=KEY)
    manifest = {"uri": f"{storage.endpoint}/trips/yellow", "bytes": 10, "blobs": [BLOB]}
    operator = EnclaveSparkDockerOperator(
        task_id="run_spark", job=NYTAXI, platform=Platform.DCSV3, image=SIMULATED.to_xcom(), manifest=manifest
    )
    month = Month(2018, 6)
    scope = RunScope("d", "r", 1, month, {"outlier_cap_dollars": 1000})
    run = EnclaveRun("d/r", b64url(bytes(32)), "2026-11-23T10:00:00+00:00", "month=2018-06", "/staging")
    launch = operator.launch(scope, SIMULATED, run)
    (listed,) = launch.input_files
    assert launch.input == manifest["uri"]
    assert BLOB.items() < listed.items()
    assert "sr=b" in listed["sas"]
    assert files_to_send(manifest) == []
