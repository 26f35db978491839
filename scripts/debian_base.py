"""Make the base of the simulated enclave image: a small Debian with Python, on the Docker engine.

Nothing is pulled from a registry: debootstrap makes it from signed Debian packages, once; it is kept as a tar
in the cache folder and imported into every engine that has not got it yet.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from confidential_spark.core.errors import ConfidentialSparkError, ConfigurationError
from confidential_spark.hooks.housekeeping.mounts import remove_unmounted
from confidential_spark.image_build.settings import ImageSettings
from confidential_spark.settings import ENV_PREFIX
from docker.client import DockerClient
from docker.errors import DockerException, ImageNotFound
from docker.utils import parse_repository_tag

if TYPE_CHECKING:
    from collections.abc import Iterator

SUITE = "bookworm"
VARIANT = "minbase"
PACKAGES = ("python3",)
# What a package manager leaves, and what belongs to one machine.
LEFT_OUT = (
    "./dev/*",
    "./proc/*",
    "./sys/*",
    "./tmp/*",
    "./var/cache/*",
    "./var/lib/apt/lists/*",
    "./var/log/*",
)
WORK_FOLDER = ".debootstrap-"
DEFAULT_CACHE = Path("~/.cache/confidential-spark")


def main() -> int:
    """Print the base image's id; 1 with the reason when there is none."""
    parser = argparse.ArgumentParser(description=__doc__)
    reference = ImageSettings.model_fields["base"].default
    parser.add_argument("--reference", default=reference, help="what the image is called (%(default)s)")
    parser.add_argument("--mirror", help="Debian mirror; debootstrap's own choice by default")
    options = parser.parse_args()
    try:
        client = DockerClient.from_env()
        print(ensure_base(client, options.reference, cache_folder(), options.mirror))
    except (ConfidentialSparkError, DockerException) as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1
    return 0


def cache_folder() -> Path:
    """Return where tars are kept, outside the repository."""
    return Path(os.environ.get(f"{ENV_PREFIX}CACHE_DIR") or DEFAULT_CACHE).expanduser()


def ensure_base(client: DockerClient, reference: str, cache: Path, mirror: str | None = None) -> str:
    """Return the id of the engine's base image, which is made and imported where it is not there.

    :param reference: ``[host:port/]name[:tag]``.
    :param cache: folder that keeps the tar; made by debootstrap when it is empty, in about a minute.
    :raises ConfigurationError: ``debootstrap-missing``, ``debootstrap-needs-root`` or ``debootstrap-failed``.
    :raises DockerException: the engine is not there.
    """
    try:
        return str(client.images.get(reference).id)
    except ImageNotFound:
        name, tag = parse_repository_tag(reference)
        client.api.import_image(src=str(ensure_tar(cache, mirror)), repository=name, tag=tag or "latest")
        return str(client.images.get(reference).id)


def ensure_tar(cache: Path, mirror: str | None = None) -> Path:
    """Return the root file system as a tar; there completely or not at all.

    :raises ConfigurationError: ``debootstrap-missing``, ``debootstrap-needs-root``, ``debootstrap-failed`` or
        ``folder-in-use``.
    """
    tar = cache / f"debian-{SUITE}-{VARIANT}-{'-'.join(PACKAGES)}.tar"
    if tar.is_file():
        return tar
    _require_debootstrap()
    cache.mkdir(parents=True, exist_ok=True)
    with _work_folder(cache) as (folder, lock):
        if tar.is_file():  # another process was at work
            return tar
        print(f"Making {tar.name} (once, about a minute) …", file=sys.stderr, flush=True)
        root, draft = folder / "root", folder / tar.name
        source = [mirror] if mirror else []
        packages = f"--include={','.join(PACKAGES)}"
        _run(["debootstrap", f"--variant={VARIANT}", packages, SUITE, str(root), *source], lock)
        excluded = [f"--exclude={pattern}" for pattern in LEFT_OUT]
        _run(
            ["tar", "--create", "--sort=name", f"--file={draft}", f"--directory={root}", *excluded, "."], lock
        )
        draft.replace(tar)
    return tar


@contextmanager
def _work_folder(cache: Path) -> Iterator[tuple[Path, int]]:
    """Yield a folder and the lock on it; those of killed runs are removed first, and this one at the end.

    debootstrap mounts /proc in it, and leaves it mounted when it is killed.
    """
    with (cache / ".debootstrap.lock").open("a") as lock:
        # Children inherit it: a debootstrap that outlives its parent is waited for.
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in cache.glob(f"{WORK_FOLDER}*"):
            remove_unmounted(left)
        folder = Path(mkdtemp(dir=cache, prefix=WORK_FOLDER))
        try:
            yield folder, lock.fileno()
        finally:
            remove_unmounted(folder)


def _require_debootstrap() -> None:
    if shutil.which("debootstrap") is None:
        raise ConfigurationError(
            "There is no debootstrap to make a Debian with.",
            code="debootstrap-missing",
            action=f"install Debian's package debootstrap, or name another base with {ENV_PREFIX}IMAGE_BASE",
        )
    if os.geteuid() != 0:
        raise ConfigurationError(
            "Only root can make a Debian root file system.",
            code="debootstrap-needs-root",
            got=f"user {os.geteuid()}",
            expected="user 0",
            action=f"run it as root once, or name another base with {ENV_PREFIX}IMAGE_BASE",
        )


def _run(command: list[str], lock: int) -> None:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        pass_fds=[lock],
    )
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines()
        raise ConfigurationError(
            "The Debian root file system could not be made.",
            code="debootstrap-failed",
            got=f"{command[0]}: exit code {done.returncode}, {lines[-1] if lines else 'no output'}",
            expected="exit code 0",
            action="check the Debian mirror, the disk, and that this machine may mount and chroot",
        )


if __name__ == "__main__":
    raise SystemExit(main())
