"""Build the Airflow image of docker/airflow on a Docker engine that can pull no image: on a Debian made here.

Elsewhere `docker build` does the same, on Airflow's own image: docs/production.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from confidential_spark.core.errors import ConfidentialSparkError, ConfigurationError
from confidential_spark.image_build.inputs import source_revision
from docker.client import DockerClient
from docker.errors import DockerException
from docker.utils.build import create_archive, exclude_paths

from scripts.debian_base import cache_folder, ensure_base
from scripts.process_tree import end_with_make

if TYPE_CHECKING:
    from typing import IO

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = "docker/airflow/Dockerfile"
CERTIFICATES = "docker/airflow/certificates"
# Authorities that somebody added to this machine's: a proxy that opens TLS would not be trusted otherwise.
MACHINE_CERTIFICATES = Path("/usr/local/share/ca-certificates")
DEBIAN = "confidential-spark-base:bookworm"
TAG = "confidential-spark/airflow:local"
TIMEOUT_SECONDS = 3600


def main() -> int:
    """Print the image's id; 1 with the reason when there is none."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", help="base image by digest; a Debian of debootstrap by default")
    parser.add_argument("--tag", default=TAG, help="what the image is called (%(default)s)")
    options = parser.parse_args()
    end_with_make()
    try:
        client = DockerClient.from_env(timeout=TIMEOUT_SECONDS)
        base = options.base or ensure_base(client, DEBIAN, cache_folder())
        print(build(client, base, options.tag, source_revision(ROOT).removesuffix("-dirty")))
    except (ConfidentialSparkError, DockerException) as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1
    return 0


def build(client: DockerClient, base: str, tag: str, revision: str = "") -> str:
    """Build the image and return its id; layers whose inputs have not changed are taken from the engine.

    :param base: base image by digest or id.
    :param revision: commit that the ledger of approvals will name.
    :raises ConfigurationError: ``airflow-image-build-failed``, with the end of the engine's output.
    """
    with context() as tar:
        lines: list[str] = []
        arguments = {"BASE_IMAGE": base, "SOURCE_REVISION": revision}
        for record in client.api.build(
            fileobj=tar,
            custom_context=True,
            dockerfile=DOCKERFILE,
            buildargs=arguments,
            tag=tag,
            rm=True,
            forcerm=True,
            decode=True,
        ):
            if line := str(record.get("stream") or record.get("error") or "").rstrip():
                lines.append(line)
                print(line, file=sys.stderr, flush=True)
            if "error" in record:
                raise ConfigurationError(
                    "The Airflow image could not be built.",
                    code="airflow-image-build-failed",
                    got=" | ".join(lines[-3:]),
                    expected="a Dockerfile without errors, and a package index that answers",
                    action="read the lines above",
                )
    return str(client.images.get(tag).id)


def context() -> IO[bytes]:
    """Return what the Dockerfile may copy as a tar, by its `.dockerignore`, which old engines do not read."""
    rules = (ROOT / f"{DOCKERFILE}.dockerignore").read_text().splitlines()
    patterns = [line for line in rules if line and not line.startswith("#")]
    certificates = [
        (f"{CERTIFICATES}/{path.name}", path.read_text(encoding="ascii"))
        for path in sorted(MACHINE_CERTIFICATES.glob("*.crt"))
    ]
    files = sorted(exclude_paths(str(ROOT), patterns))
    archive: IO[bytes] = create_archive(str(ROOT), files, extra_files=certificates)
    return archive


if __name__ == "__main__":
    raise SystemExit(main())
