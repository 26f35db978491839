"""Run a command with a real cluster that has the namespace and the enclave images of a deployment.

`python -m tests.kubernetes.equipped pytest tests/kubernetes`. The cluster of `$KUBECONFIG` is used as it is,
with the images that the other variables name. Without one, the cluster of `tests/support/cluster` is brought
up, the images are built on a Docker engine and loaded into it, and Azurite is started, which its pods reach;
what was started here is ended here. Exit code 3 means that no cluster could be had, so nothing was tested.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from confidential_spark.image_build.settings import image_settings
from docker.client import DockerClient

from scripts.debian_base import cache_folder, ensure_base
from tests.docker.engine import NoEngineError, running_engine
from tests.docker.image_tasks import built_image
from tests.support.azure.azurite import NoAzuriteError
from tests.support.azure.for_pods import ADDRESS, PORT, azurite_for_pods
from tests.support.cluster.machine import UNFIT
from tests.support.cluster.namespaces import listen_inside
from tests.support.cluster.places import Places
from tests.support.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

OVERLAYS = ROOT / "include" / "kubernetes" / "overlays"
NO_CLUSTER = 3
FAILED = 1

KUBECONFIG = "KUBECONFIG"
# What the nodes know by these names: an image with a shell, the enclave image by digest, and the image of
# another enclave, which no run may give its secret to.
TEST_IMAGE, ENCLAVE_IMAGE = "KUBERNETES_TEST_IMAGE", "KUBERNETES_ENCLAVE_IMAGE"
FOREIGN_IMAGE = "KUBERNETES_FOREIGN_IMAGE"
# Azurite as pods reach it, ``HOST:PORT``, and its port on this machine's 127.0.0.1.
EMULATOR, EMULATOR_PORT = "KUBERNETES_EMULATOR", "KUBERNETES_EMULATOR_PORT"
# The emulator's container for what goes between pipeline and enclaves.
WORK_CONTAINER = "work"
# Of our own cluster alone, whose parts a test can stop: the cache folder that it is in.
OWN_CLUSTER = "KUBERNETES_OWN_CLUSTER"
# Another security version is another measurement.
FOREIGN_SVN = 7


class NoClusterError(Exception):
    """No real cluster can be had on this machine; the text says why."""


def main() -> int:
    """Run the command line's command, and return its exit code."""
    try:
        if os.environ.get(KUBECONFIG):
            require_images()
            return subprocess.run(sys.argv[1:], check=False).returncode
        with own_cluster() as variables:
            return subprocess.run(sys.argv[1:], env=os.environ | variables, check=False).returncode
    except (NoClusterError, NoEngineError) as error:
        print(f"!!! NOT TESTED: no real cluster: {error}", file=sys.stderr)
        return NO_CLUSTER
    except subprocess.CalledProcessError as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return FAILED


def require_images() -> None:
    """Refuse somebody's cluster whose images nobody has named: the tests would quietly run on the fake one.

    :raises NoClusterError: naming the variables.
    """
    missing = [name for name in (TEST_IMAGE, ENCLAVE_IMAGE, FOREIGN_IMAGE) if not os.environ.get(name)]
    if missing:
        raise NoClusterError(
            f"${KUBECONFIG} names a cluster, and nothing names its images: set ${', $'.join(missing)}, "
            f"or unset ${KUBECONFIG} for a cluster of this project's own"
        )


@contextmanager
def own_cluster() -> Iterator[dict[str, str]]:
    """Yield the variables that tests read, while a cluster of ours has the images and the namespace.

    :raises NoClusterError: this machine cannot run one.
    :raises NoEngineError: there is nothing to build the images with.
    :raises CalledProcessError: it could, and a step failed.
    """
    was_up = subprocess.run(_cluster("status"), capture_output=True, cwd=ROOT, check=False).returncode == 0
    try:
        if not was_up:
            _asked("install")
        kubeconfig = _asked("up").strip()
        with running_engine():
            images = _load_images()
        install_namespace()
        places = Places.of_environment()
        ours = {KUBECONFIG: kubeconfig, OWN_CLUSTER: str(places.home.parent)}
        with ExitStack() as stack:
            yield ours | images | _start_emulator(places, stack)
    finally:
        if not was_up:
            # Whatever becomes of it, the tests' own result counts.
            subprocess.run(_cluster("down"), cwd=ROOT, check=False)


def _load_images() -> dict[str, str]:
    """Build the images, load them into the cluster, and return what its node calls them."""
    engine = DockerClient.from_env(timeout=900)
    ensure_base(engine, image_settings().base, cache_folder())
    names: dict[str, dict[str, int]] = {"enclave": {}, "foreign": {"enclave_svn": FOREIGN_SVN}}
    tags = {f"localhost/confidential-spark/{name}:test": used for name, used in names.items()}
    for tag, used in tags.items():
        engine.images.get(built_image(engine, **used).reference).tag(tag)
    enclave, other = load(*tags)
    return {TEST_IMAGE: enclave, ENCLAVE_IMAGE: enclave, FOREIGN_IMAGE: other}


def load(*tags: str) -> list[str]:
    """Load images of the engine into the cluster, and return what its node calls each.

    :raises CalledProcessError: the engine or the cluster refuses.
    """
    with tempfile.TemporaryDirectory(prefix="enclave-images-") as folder:
        archive = f"{folder}/images.tar"
        subprocess.run(["docker", "save", "--output", archive, *tags], check=True)
        loaded = json.loads(_asked("load-image", archive))
    references = {each["name"]: each["reference"] for each in loaded}
    return [references[tag] for tag in tags]


def _start_emulator(places: Places, stack: ExitStack) -> dict[str, str]:
    """Start Azurite until the end of the stack; without it, no enclave in a pod is tested."""
    try:
        running = stack.enter_context(azurite_for_pods(listen_inside(places, PORT)))
    except NoAzuriteError as error:
        print(f"!!! NOT TESTED: whatever an enclave in a pod runs: no Azurite: {error}", file=sys.stderr)
        return {}
    return {EMULATOR: ADDRESS, EMULATOR_PORT: str(urlsplit(running.endpoint).port)}


def install_namespace() -> None:
    """Apply the manifests."""
    _asked("kubectl", "apply", "--kustomize", str(OVERLAYS / "simulation"))


def _cluster(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tests.support.cluster", *arguments]


def _asked(*arguments: str) -> str:
    """Run a command of `tests.support.cluster`, whose progress is shown, and return what it printed.

    :raises NoClusterError: it says that this machine is unfit.
    :raises CalledProcessError: it failed.
    """
    done = subprocess.run(_cluster(*arguments), stdout=subprocess.PIPE, text=True, cwd=ROOT, check=False)
    if done.returncode == UNFIT:
        raise NoClusterError("this machine can have none, see above")
    done.check_returncode()
    return done.stdout


if __name__ == "__main__":
    raise SystemExit(main())
