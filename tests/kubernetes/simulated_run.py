"""Run a command with all that `aks` needs in simulation and that nobody has configured, as `make run` does.

`python -m tests.kubernetes.simulated_run python -m scripts.run_month --platform aks`. Where settings name
storage, nothing is brought up. Else Azurite is, until the command has ended, and is passed on to pods. On the
cluster of `make cluster`, the namespace, Airflow's account and the image of `make image` are seen to as well;
on any other one, `docs/aks.md` says how they get there. Exit code 2 means that something is missing.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from azure.storage.blob import BlobServiceClient
from confidential_spark.agent.protocol import TRUST_SIMULATED
from confidential_spark.core.errors import ConfidentialSparkError, ConfigurationError
from confidential_spark.core.platforms import Platform
from confidential_spark.hooks.blob.settings import BlobSettings
from confidential_spark.platforms.kubernetes.settings import KubernetesSettings
from confidential_spark.settings import Settings, get_settings
from confidential_spark.verification import load_policy
from confidential_spark.verification.policy.ledger import read_ledger
from docker.client import DockerClient
from docker.errors import ImageNotFound

from scripts.process_tree import end_with_parent, take_charge, undisturbed
from scripts.run_month import choose_policy
from tests.docker.engine import NoEngineError, running_engine
from tests.kubernetes.deployment import Deployment
from tests.kubernetes.equipped import KUBECONFIG, WORK_CONTAINER, install_namespace, load
from tests.support.azure.azurite import KEY, AzuriteFailedError, NoAzuriteError, wasb_connection
from tests.support.azure.for_pods import ADDRESS, PORT, azurite_for_pods
from tests.support.cluster.cluster import is_up
from tests.support.cluster.namespaces import listen_inside
from tests.support.cluster.places import Places

if TYPE_CHECKING:
    from collections.abc import Mapping

    from docker.models.images import Image

WORK, EMULATOR = KubernetesSettings.variable("work"), KubernetesSettings.variable("emulator")
IMAGE, BLOBS = KubernetesSettings.variable("image"), BlobSettings.variable("emulator")
RESULTS_CONNECTION = Settings.variable("results_conn_id")
CONNECTION = "azurite"
CLUSTER_CONNECTION = "AIRFLOW_CONN_KUBERNETES_DEFAULT"
TAG = "localhost/confidential-spark/enclave:approved"
REFUSED = 2


def main() -> int:
    """Run the command line's command, and return its exit code."""
    take_charge()
    # The client tells every request.
    logging.getLogger("azure").setLevel(logging.WARNING)
    try:
        with ExitStack() as stack:
            return run(sys.argv[1:], os.environ | brought_up(stack))
    except (ConfidentialSparkError, AzuriteFailedError, NoAzuriteError, NoEngineError) as error:
        print(f"REFUSED  {error}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        return 130


def run(command: list[str], environment: Mapping[str, str]) -> int:
    """Return a command's exit code; one that is interrupted removes its pods before its storage ends."""
    process = subprocess.Popen(command, env=environment, preexec_fn=end_with_parent)
    try:
        return process.wait()
    except KeyboardInterrupt:
        with undisturbed():
            process.terminate()
            process.wait()
        raise


def brought_up(stack: ExitStack) -> dict[str, str]:
    """Bring up what is missing until the end of the stack, and return the settings of it.

    :raises ConfigurationError: ``cluster-missing``, ``emulator-address-missing``, ``image-not-published``.
    :raises NoAzuriteError: it cannot be had.
    """
    choose_policy(Platform.AKS)
    simulated = load_policy(get_settings().policy_path(Platform.AKS)).trust == TRUST_SIMULATED
    if not simulated or {WORK, BLOBS} & set(os.environ):
        return {}
    places = Places.of_environment()
    named = os.environ.get(KUBECONFIG)
    if named in (None, str(places.kubeconfig)) and is_up(places):
        # A connection with a path of its own refuses it.
        os.environ.pop(KUBECONFIG, None)
        return own_cluster(places, stack)
    if named or CLUSTER_CONNECTION in os.environ:
        return other_cluster(stack)
    raise ConfigurationError(
        "There is no cluster for PLATFORM=aks.",
        code="cluster-missing",
        got=f"no ${KUBECONFIG}, and the cluster of `make cluster` is not up",
        expected="a cluster that runs, and its kubeconfig",
        action=f"run `make cluster` (root on Debian), or name yours in ${KUBECONFIG}: docs/aks.md",
    )


def own_cluster(places: Places, stack: ExitStack) -> dict[str, str]:
    """Equip the cluster of `make cluster`, and return the settings that lead there."""
    image = os.environ.get(IMAGE) or load_approved()
    install_namespace()
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aks-")))
    account = Deployment(places.kubeconfig, image).launcher_kubeconfig(folder)
    connection = json.dumps({"conn_type": "kubernetes", "extra": {"kube_config_path": str(account)}})
    running = stack.enter_context(azurite_for_pods(listen_inside(places, PORT)))
    print(f"Azurite stands in for Azure Storage; pods reach it at {ADDRESS}", flush=True)
    return {IMAGE: image, CLUSTER_CONNECTION: connection, **storage_settings(running.endpoint, ADDRESS)}


def other_cluster(stack: ExitStack) -> dict[str, str]:
    """Pass an emulator on to the pods of a cluster of somebody's, and return the settings that lead there.

    :raises ConfigurationError: ``emulator-address-missing``.
    """
    address = os.environ.get(EMULATOR, "")
    host, _, port = address.rpartition(":")
    try:
        listener = stack.enter_context(socket.create_server((host, int(port))))
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            "Nothing says how pods reach a storage emulator on this machine.",
            code="emulator-address-missing",
            got=f"{EMULATOR}={address or 'unset'}: {error}",
            expected=f"HOST:{PORT} with an address of this machine that pods reach",
            action=f"set it, e.g. to the gateway of kind's network; or configure storage, {WORK}",
        ) from error
    running = stack.enter_context(azurite_for_pods(listener))
    return storage_settings(running.endpoint, address)


def storage_settings(endpoint: str, address: str) -> dict[str, str]:
    """Make a container, and return the settings by which everybody finds it."""
    BlobServiceClient(endpoint, credential=KEY).create_container(WORK_CONTAINER)
    return {
        BLOBS: endpoint,
        EMULATOR: address,
        WORK: f"{endpoint}/{WORK_CONTAINER}/run",
        RESULTS_CONNECTION: CONNECTION,
        f"AIRFLOW_CONN_{CONNECTION.upper()}": wasb_connection(endpoint),
    }


def load_approved() -> str:
    """Load the latest approved image of this machine's engine into the cluster, and return its name there.

    :raises ConfigurationError: ``image-not-published``.
    :raises NoEngineError: there is no engine to take it from.
    """
    with running_engine():
        engine = DockerClient.from_env(timeout=900)
        approved_image(engine).tag(TAG)
        print("Loading the image into the cluster (half a minute) …", flush=True)
        [reference] = load(TAG)
    return reference


def approved_image(engine: DockerClient) -> Image:
    """Return the latest approved image that the engine has.

    :raises ConfigurationError: ``image-not-published``.
    """
    ledger = load_policy(get_settings().policy_path(Platform.AKS)).approvals_path
    digests = [each.image_digest for each in read_ledger(ledger).approvals] if ledger.exists() else []
    for digest in reversed(digests):
        with suppress(ImageNotFound):
            return engine.images.get(digest)
    raise ConfigurationError(
        "There is no approved enclave image on this machine's engine.",
        code="image-not-published",
        got=f"{len(digests)} approvals in {ledger.name}",
        expected="an image that somebody has approved",
        action=f"run `make image`, or name an image of the cluster's nodes in {IMAGE}",
    )


if __name__ == "__main__":
    raise SystemExit(main())
