"""Launches of one distributed run, whose image pins the loopback attestation service."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest
from confidential_spark.agent.attestation.measurement import simulated_measurement
from confidential_spark.agent.executors import driver
from confidential_spark.agent.launch.launch_file import LaunchSpec
from confidential_spark.simulation.service.server import ISSUER, LoopbackAttestationService

from tests.unit.agent.conftest import JOBS
from tests.unit.agent.executors.peers import spki_sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

K8S = {"spark.master": "k8s://https://127.0.0.1:6443"}


@pytest.fixture(scope="module")
def service() -> Iterator[LoopbackAttestationService]:
    with LoopbackAttestationService() as running:
        yield running


@pytest.fixture
def anchor_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The image's anchor, as `build-enclave` would write it for a simulated enclave."""
    measured = simulated_measurement(JOBS)
    file = tmp_path / "anchor.json"
    file.write_text(
        json.dumps(
            {
                "issuer": ISSUER,
                "token_signing_keys": [spki_sha256()],
                "mrsigner": measured.mrsigner,
                "product_id": measured.product_id,
                "svn": measured.svn,
            }
        )
    )
    monkeypatch.setattr(driver, "ANCHOR_FILE", file)
    return file


@pytest.fixture
def cluster(
    launch: Callable[..., dict[str, Any]], service: LoopbackAttestationService, anchor_file: Path
) -> Callable[..., LaunchSpec]:
    """Return a factory of the run's launches, all on one release port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def make(**changes: Any) -> LaunchSpec:
        values = {
            "attestation_url": service.url,
            "pod_ip": "127.0.0.1",
            "release_port": port,
            "spark_conf": K8S,
        }
        return LaunchSpec(**launch(**values | changes))

    return make
