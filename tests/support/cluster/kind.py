"""The same by kind, on a machine whose engine can pull images: `python -m tests.support.cluster.kind --help`.

Exit codes: 0 done, 1 failed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from dataclasses import asdict, dataclass
from pathlib import Path

from confidential_spark.core.errors import ConfidentialSparkError, InputError

from tests.support.cluster.cluster import changing
from tests.support.cluster.epc import EPC_RESOURCE, epc_patch
from tests.support.cluster.images import LoadedImage, reference_by_digest
from tests.support.cluster.places import Places

# One of kind 0.31's: an older kind may not know how to start it.
NODE_IMAGE = "kindest/node:v1.34.3@sha256:08497ee19eace7b4b5348db5c6a1591d7752b164530a36f855cb0f2bdcbadd48"
START_SECONDS = 300
# In the order in which kind itself looks for them.
ENGINES = ("docker", "nerdctl", "podman")
PROVIDER = "KIND_EXPERIMENTAL_PROVIDER"


@dataclass(frozen=True)
class KindCluster:
    """The cluster by kind of one home."""

    places: Places

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig; there once the cluster was created completely."""
        return self.places.home / "kind.kubeconfig"

    @property
    def node(self) -> str:
        """The name of the node, and of its container."""
        return f"{self.places.unique_name}-control-plane"

    def bring_up(self) -> None:
        """Return when the API server answers; a cluster whose server does already stays as it is.

        :raises ConfidentialSparkError: ``cluster-kind-failed`` with the end of what kind said.
        """
        if self.is_up():
            return
        # kind refuses to create what is there, in whatever state.
        self.bring_down()
        image, patience = f"--image={NODE_IMAGE}", f"--wait={START_SECONDS}s"
        _kind("create", "cluster", *self._named(), image, patience)

    def bring_down(self) -> None:
        """End the cluster, if there is one, and remove everything of it."""
        _kind("delete", "cluster", *self._named())
        self.kubeconfig.unlink(missing_ok=True)

    def is_up(self) -> bool:
        """Return whether the cluster was created completely, and its API server is ready."""
        if not self.kubeconfig.is_file() or self.places.unique_name not in _kind("get", "clusters").split():
            return False
        try:
            self.kubectl("get", "--raw=/readyz")
        except ConfidentialSparkError:
            return False
        return True

    def kubectl(self, *arguments: str) -> str:
        """Run the node's own kubectl, which is of the right version, and return what it printed."""
        return self._inside("kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", *arguments)

    def load_image(self, archive: Path) -> list[LoadedImage]:
        """Give the node the images of an archive of ``docker save``, and return what pods can name.

        :raises InputError: ``cluster-image-refused`` when it is no such archive, or its image has no name.
        """
        names = _names_in(archive)
        _kind("load", "image-archive", str(archive.resolve()), f"--name={self.places.unique_name}")
        return [self._name_by_digest(name) for name in names]

    def _name_by_digest(self, name: str) -> LoadedImage:
        """Give the image the name by which an image pulled by digest would be known."""
        ctr = ("ctr", "--namespace=k8s.io", "images")
        listed = self._inside(*ctr, "list", f"name=={name}")
        digest = re.search(rf"(?m)^{re.escape(name)}\s.*?(sha256:[0-9a-f]{{64}})", listed)
        if digest is None:
            raise _refused(name, "not among the node's images after it was loaded")
        reference = reference_by_digest(name, digest.group(1))
        self._inside(*ctr, "tag", "--force", name, reference)
        return LoadedImage(name, reference)

    def _named(self) -> tuple[str, str]:
        return f"--name={self.places.unique_name}", f"--kubeconfig={self.kubeconfig}"

    def _inside(self, *command: str) -> str:
        return _run(_require_engine(), "exec", self.node, *command)


def is_here() -> bool:
    """Return whether there are kind and an engine that answers; whether that can pull, only a try tells."""
    return shutil.which("kind") is not None and _engine() is not None


def _engine() -> str | None:
    asked = (os.environ[PROVIDER],) if os.environ.get(PROVIDER) else ENGINES
    return next((each for each in asked if shutil.which(each) and _answers(each)), None)


def _answers(engine: str) -> bool:
    return subprocess.run([engine, "info"], capture_output=True, check=False).returncode == 0


def _require_engine() -> str:
    engine = _engine()
    if engine is None or shutil.which("kind") is None:
        raise ConfidentialSparkError(
            "kind cannot be used here",
            code="cluster-kind-missing",
            got=f"kind: {shutil.which('kind') or 'not on PATH'}; engine: {engine or 'none that answers'}",
            expected=f"kind on PATH, and one of {', '.join(ENGINES)} that answers",
            action="install them, or name a cluster in $KUBECONFIG",
        )
    return engine


def _kind(*arguments: str) -> str:
    # Said, so that kind takes the engine that is asked here, where there are several.
    return _run("kind", *arguments, **{PROVIDER: _require_engine()})


def _run(*command: str, **environment: str) -> str:
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ConfidentialSparkError(
            "a command of the cluster by kind failed",
            code="cluster-kind-failed",
            got=done.stderr.strip()[-300:] or f"exit code {done.returncode}",
            expected=f"exit code 0 of {' '.join(command)}",
            action=f"see whether the engine runs, and whether it can pull {NODE_IMAGE}",
            retryable=True,
        )
    return done.stdout


def _names_in(archive: Path) -> list[str]:
    """Return the names in an archive, as containerd writes them."""
    try:
        with tarfile.open(archive) as files:
            manifest = files.extractfile("manifest.json")
            images = json.load(manifest) if manifest else []
        names = [_in_full(name) for image in images for name in image["RepoTags"] or ()]
    except (OSError, tarfile.TarError, KeyError, TypeError, ValueError) as unreadable:
        raise _refused(archive, unreadable) from unreadable
    if not names:
        raise _refused(archive, "no image with a name")
    return names


def _in_full(name: str) -> str:
    registry, slash, _ = name.partition("/")
    if slash and (registry == "localhost" or {".", ":"} & set(registry)):
        return name
    return f"docker.io/{name}" if slash else f"docker.io/library/{name}"


def _refused(what: object, got: object) -> InputError:
    return InputError(
        "the archive could not be imported",
        code="cluster-image-refused",
        got=f"{what}: {got}",
        expected="an archive made by `docker save NAME:TAG`",
        action="save the image by its name and tag, not by its id",
    )


def main() -> int:
    """Run one command; errors go to standard error in one line."""
    arguments = _parser().parse_args()
    places = Places.of_environment()
    try:
        with changing(places):
            return int(COMMANDS[arguments.command](KindCluster(places), arguments) or 0)
    except ConfidentialSparkError as failed:
        print(failed.diagnostics(), file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.support.cluster.kind", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="bring the cluster up and print its kubeconfig's path")
    commands.add_parser("down", help="end it and remove everything of it")
    commands.add_parser("status", help="show nodes and pods; exit 1 when it is not up")
    commands.add_parser("kubeconfig", help="print the path of the administrator's kubeconfig")
    load = commands.add_parser(
        "load-image", help="load an archive of `docker save NAME:TAG`; print its names"
    )
    load.add_argument("archive", type=Path)
    epc = commands.add_parser("epc", help=f"give the node a capacity of {EPC_RESOURCE}, without SGX")
    epc.add_argument("quantity", help="e.g. 64Mi; 0 takes it away")
    return parser


def _up(cluster: KindCluster, _arguments: argparse.Namespace) -> None:
    cluster.bring_up()
    print(cluster.kubeconfig)


def _down(cluster: KindCluster, _arguments: argparse.Namespace) -> None:
    cluster.bring_down()


def _status(cluster: KindCluster, _arguments: argparse.Namespace) -> int:
    if not cluster.is_up():
        print("the test cluster is not up")
        return 1
    print(cluster.kubectl("get", "nodes,pods", "--all-namespaces", "--output=wide"), end="")
    return 0


def _kubeconfig(cluster: KindCluster, _arguments: argparse.Namespace) -> None:
    _require_up(cluster)
    print(cluster.kubeconfig)


def _load_image(cluster: KindCluster, arguments: argparse.Namespace) -> None:
    _require_up(cluster)
    print(json.dumps([asdict(image) for image in cluster.load_image(arguments.archive)], indent=2))


def _epc(cluster: KindCluster, arguments: argparse.Namespace) -> None:
    patch = epc_patch(cluster.node, arguments.quantity)
    _require_up(cluster)
    print(cluster.kubectl(*patch), end="")


def _require_up(cluster: KindCluster) -> None:
    if not cluster.is_up():
        raise ConfidentialSparkError(
            "the test cluster is not up",
            code="cluster-down",
            action="run `python -m tests.support.cluster.kind up`",
        )


COMMANDS = {
    "down": _down,
    "epc": _epc,
    "kubeconfig": _kubeconfig,
    "load-image": _load_image,
    "status": _status,
    "up": _up,
}

if __name__ == "__main__":
    sys.exit(main())
