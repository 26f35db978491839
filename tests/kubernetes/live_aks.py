"""A real Airflow whose platform `aks` is the real cluster of `$KUBECONFIG`."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from confidential_spark.platforms.kubernetes.names import RUN_LABELS, label_value, selector

from tests.integration.live_airflow import LiveAirflow, wait_until
from tests.support.factories.approvals import approved_include

if TYPE_CHECKING:
    from pathlib import Path

    from confidential_spark.enclave.image import EnclaveImage

SPARK = "spark.run_spark"
POLICY = "simulation-image"


def live_aks(
    folder: Path, image: EnclaveImage, kubeconfig: Path, blobs: dict[str, str], **settings: str
) -> LiveAirflow:
    """Return an Airflow, not started, in whose ledger somebody has approved the image.

    :param kubeconfig: of Airflow's own account.
    :param blobs: the settings by which input and results go through blobs.
    :param settings: more of `CONFIDENTIAL_SPARK_…`, by name.
    """
    include = approved_include(folder / "include", image)
    live = LiveAirflow(folder)
    connection = {"conn_type": "kubernetes", "extra": {"kube_config_path": str(kubeconfig)}}
    ours = {
        "AKS_POLICY": POLICY,
        "AKS_IMAGE": image.reference,
        "AKS_CPU_REQUEST": "100m",
        "INCLUDE_DIR": str(include),
        **{name.upper(): value for name, value in blobs.items()},
        **settings,
    }
    live.environment.update({f"CONFIDENTIAL_SPARK_{name}": value for name, value in ours.items()})
    live.environment["AIRFLOW_CONN_KUBERNETES_DEFAULT"] = json.dumps(connection)
    live.environment["AIRFLOW_CONN_WORK"] = os.environ["AIRFLOW_CONN_WORK"]
    return live


def unpause(live: LiveAirflow, *dags: str) -> None:
    """Let the DAGs run, and wait until what an earlier test started is over."""
    for dag in dags:
        live.unpause(dag)
    wait_until(live.idle, "what an earlier test started is over", 900)


def run_selector(dag: str, run: str) -> str:
    """Return the labels of a run's pods."""
    return selector(dict(zip(RUN_LABELS, (label_value(dag), label_value(run)), strict=True)))


def published(airflow: LiveAirflow, dag: str, month: str) -> Path:
    return airflow.results / dag / f"month={month}"


def summary(airflow: LiveAirflow, dag: str, month: str) -> dict[str, Any]:
    """Return a month's figures, but for how long it took."""
    content = json.loads((published(airflow, dag, month) / "summary.json").read_text())
    return {name: value for name, value in content.items() if name != "duration_ms"}


def predicate(airflow: LiveAirflow, dag: str, month: str) -> dict[str, Any]:
    """Return what the signed statement of a month says."""
    evidence = json.loads((published(airflow, dag, month) / "evidence.json").read_text())
    statement = json.loads(base64.b64decode(evidence["envelope"]["payload"]))
    return dict(statement["predicate"])


def verify(airflow: LiveAirflow, month: str) -> None:
    """Verify a month as an outsider does."""
    policy = airflow.folder / "include" / "policies" / f"{POLICY}.yaml"
    evidence = published(airflow, "nytaxi_aks", month) / "evidence.json"
    command = [sys.executable, "-m", "confidential_spark", "verify", str(evidence), "--policy", str(policy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
