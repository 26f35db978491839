"""Images for a cluster that can pull none: one program alone, and archives of `docker save`."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import re
import subprocess
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from confidential_spark.core.errors import InputError

from tests.support.cluster.namespaces import inside_node
from tests.support.cluster.places import CONTAINERD_SOCKET

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.cluster.places import Places

CTR = ["ctr", "--address", CONTAINERD_SOCKET, "--namespace", "k8s.io"]
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# What `ctr images import` prints for each image it has unpacked.
UNPACKED = re.compile(r"unpacking (\S+) \((sha256:[0-9a-f]{64})\)")


@dataclass(frozen=True)
class LoadedImage:
    """One image on the node: ``name`` with its tag, and ``reference``, ``repository@sha256:…``."""

    name: str
    reference: str


def write_program_image(target: Path, name: str, *programs: Path) -> None:
    """Write an archive of an image that has these static programs only; the first is its entrypoint."""
    layer = _tar({program.name: program.read_bytes() for program in programs})
    config = _json(
        {
            "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {"Entrypoint": [f"/{programs[0].name}"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
    )
    manifest = _json([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}])
    target.write_bytes(_tar({"manifest.json": manifest, "config.json": config, "layer.tar": layer}))


def load_image(places: Places, archive: Path) -> list[LoadedImage]:
    """Import an archive of ``docker save`` or of OCI layout, and return what pods can name.

    :raises InputError: ``cluster-image-refused`` when it is no such archive, or its image has no name.
    """
    done = subprocess.run(
        inside_node(places, [*CTR, "images", "import", str(archive.resolve())]),
        capture_output=True,
        text=True,
        check=False,
    )
    unpacked = UNPACKED.findall(done.stdout)
    if done.returncode != 0 or not unpacked:
        raise InputError(
            "the archive could not be imported",
            code="cluster-image-refused",
            got=(done.stderr or done.stdout).strip() or archive,
            expected="an archive made by `docker save NAME:TAG`",
            action="save the image by its name and tag, not by its id",
        )
    return [_name_by_digest(places, name, digest) for name, digest in unpacked]


def reference_by_digest(name: str, digest: str) -> str:
    """Return ``repository@sha256:…`` for a name with a tag."""
    head, slash, tail = name.rpartition("/")
    return f"{head}{slash}{tail.partition(':')[0]}@{digest}"


def is_containerd_ready(places: Places) -> bool:
    """Return whether the node's containerd answers."""
    done = subprocess.run(inside_node(places, [*CTR, "version"]), capture_output=True, check=False)
    return done.returncode == 0


def _name_by_digest(places: Places, name: str, digest: str) -> LoadedImage:
    """Give the image the name by which an image pulled by digest would be known."""
    reference = reference_by_digest(name, digest)
    subprocess.run(
        inside_node(places, [*CTR, "images", "tag", "--force", name, reference]),
        capture_output=True,
        check=True,
    )
    return LoadedImage(name, reference)


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _tar(files: dict[str, bytes]) -> bytes:
    """Return an archive that is the same for the same files."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()
