"""The launch file is written in one place, for a job of any platform."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from confidential_spark.agent.protocol import b64url
from confidential_spark.core.months import Month
from confidential_spark.core.platforms import Platform
from confidential_spark.enclave.image import EnclaveImage
from confidential_spark.enclave.spark import choose_runtime
from confidential_spark.jobs.nytaxi import NYTAXI
from confidential_spark.jobs.sparkpi import SPARKPI
from confidential_spark.operators.attempt import EnclaveRun
from confidential_spark.operators.base import RunScope
from confidential_spark.operators.launch import (
    image_installation,
    image_places,
    launch_spec,
    quote_source,
)
from confidential_spark.settings import Settings

DIGEST = "sha256:" + "ab" * 32
SIMULATED = EnclaveImage(
    reference=DIGEST,
    digest=DIGEST,
    trust="simulated",
    mrenclave="01" * 32,
    mrsigner="02" * 32,
    product_id=1,
    svn=1,
    debuggable=False,
    inputs_sha256="03" * 32,
)
HARDWARE = replace(SIMULATED, trust="hardware")
RUN = EnclaveRun("d/r", b64url(bytes(32)), "2026-11-23T10:00:00+00:00", "month=2018-05", "/staging")
INSTALLATION = image_installation(SIMULATED, in_pods=False)
RUNTIME = choose_runtime(input_bytes=0, cores=2, memory="2g", installation=INSTALLATION)


@pytest.fixture
def attestation_connection(monkeypatch) -> None:
    connection = {"conn_type": "http", "host": "https://sharedweu.weu.attest.azure.net"}
    monkeypatch.setenv("AIRFLOW_CONN_MAA_DEFAULT", json.dumps(connection))


def test_a_simulated_image_attests_to_itself() -> None:
    source = quote_source(SIMULATED, Platform.DCSV3, Settings())
    assert source.quote_provider == "software"
    assert source.attestation_url.startswith("http://127.0.0.1:")
    assert source.jobs_dir == "/opt/confidential-spark/jobs"


def test_a_hardware_image_attests_to_the_policys_provider(attestation_connection) -> None:
    source = quote_source(HARDWARE, Platform.DCSV3, Settings())
    assert asdict(source) == {
        "quote_provider": "occlum",
        "attestation_url": "https://sharedweu.weu.attest.azure.net",
        "attestation_api_version": "2022-08-01",
        "jobs_dir": None,
    }


@pytest.mark.parametrize(
    ("image", "in_pods", "archive"),
    [
        pytest.param(SIMULATED, False, Path("/opt/spark/spark-classes.jsa"), id="simulated"),
        pytest.param(SIMULATED, True, Path("/opt/spark/spark-classes-pods.jsa"), id="simulated-pods"),
        pytest.param(HARDWARE, False, None, id="hardware"),
        pytest.param(HARDWARE, True, None, id="hardware-pods"),
    ],
)
def test_only_the_simulated_image_has_class_archives(image, in_pods, archive) -> None:
    assert image_installation(image, in_pods=in_pods).archive == archive


def test_a_monthly_jobs_launch_names_its_month_and_input() -> None:
    scope = RunScope("d", "r", 1, Month(2018, 5), {"outlier_cap_dollars": 7})
    source = quote_source(SIMULATED, Platform.DCSV3, Settings())
    places = image_places(NYTAXI, {"uri": "file:///month"}, Settings())
    spec = launch_spec(NYTAXI, scope, RUN, RUNTIME, source, places, image_digest=DIGEST)
    assert (spec.nonce, spec.run_id, spec.image_digest) == (RUN.nonce, RUN.run_id, DIGEST)
    assert (spec.job, spec.month, spec.input) == ("nytaxi", "2018-05", "file:///host/data/input")
    assert spec.job_file == "/opt/confidential-spark/jobs/nytaxi.py"
    assert spec.arguments == ["--month", "2018-05", "--outlier-cap-cents", "700"]
    assert spec.java == str(RUNTIME.java)
    assert spec.spark_conf == RUNTIME.spark_conf
    assert spec.release_port is None


def test_a_driver_hands_its_secret_out_and_a_job_without_input_names_none() -> None:
    scope = RunScope("d", "r", 1, None, {"partitions": 3})
    source = quote_source(SIMULATED, Platform.AKS, Settings())
    places = image_places(SPARKPI, None, Settings(), release_port=7080)
    spec = launch_spec(SPARKPI, scope, RUN, RUNTIME, source, places, image_digest=DIGEST)
    assert (spec.month, spec.input, spec.release_port) == (None, None, 7080)
    assert spec.arguments == ["--partitions", "3"]
