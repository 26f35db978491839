"""A launch that is valid as it stands, and a job that needs no Spark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from confidential_spark.agent.protocol import b64url

from tests.support.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

JOBS = ROOT / "include" / "jobs"


@pytest.fixture
def launch(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Return a factory of launch files' content; None removes a key."""

    def make(**changes: Any) -> dict[str, Any]:
        values = {
            "v": 1,
            "nonce": b64url(bytes(range(32))),
            "run_id": "nytaxi_local/manual__2018-05-01T00:00:00+00:00",
            "results_dir": str(tmp_path / "results"),
            "attestation_url": "http://127.0.0.1:9",
            "attestation_api_version": "2022-08-01",
            "quote_provider": "software",
            "jobs_dir": str(JOBS),
            "job": "nytaxi",
            "job_file": str(JOBS / "nytaxi.py"),
            "arguments": ["--month", "2018-05"],
            "month": "2018-05",
            "input": "file:///data/puYear=2018/puMonth=5",
            "work_dir": str(tmp_path / "work"),
            "image_digest": "sha256:" + 64 * "0",
            "java": "/usr/bin/java",
            "spark_home": "/opt/spark",
            "python": "/usr/bin/python3",
            "jvm_options": ["-XX:+UseSerialGC"],
            "spark_conf": {"spark.master": "local[2]"},
        }
        return {key: value for key, value in (values | changes).items() if value is not None}

    return make
