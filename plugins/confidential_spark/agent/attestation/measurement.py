"""Who a simulated enclave is, in place of SGX's measurement.

In the simulated image, Occlum's stand-in measures the enclave and says so in a variable, as the CPU would. On
the `local` platform there is no image, and the agent measures its own sources.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, fields
from pathlib import Path

from confidential_spark.agent.errors import AgentError
from confidential_spark.agent.job.runner_jars import Lock
from confidential_spark.agent.protocol import canonical_json, sha256_hex

AGENT_DIR = Path(__file__).resolve().parents[1]
DEVELOPMENT_SIGNER = b"confidential-spark development signer v1"
PRODUCT_ID = 1
# 2: no Python beside Spark, whose loopback the host could read and drive (docs/adr/0013).
SVN = 2
IDENTITY_VARIABLE = "CONFIDENTIAL_SPARK_SIMULATED_ENCLAVE"


@dataclass(frozen=True)
class Measurement:
    """An enclave's identity as SGX states it; hashes in lower-case hex."""

    mrenclave: str
    mrsigner: str
    product_id: int
    svn: int
    debuggable: bool = False

    @property
    def image_digest(self) -> str:
        """The digest that stands for the image of a simulated enclave, which has none of its own."""
        return f"sha256:{self.mrenclave}"


def simulated_enclave(jobs_dir: Path | None) -> Measurement:
    """Return who this simulated enclave is: what Occlum's stand-in says, or else what it measures itself.

    :param jobs_dir: the job files to measure; not needed inside the image.
    :raises AgentError: ``identity-malformed``, ``jobs-dir-missing`` or ``jobs-missing``.
    """
    if identity := os.environ.get(IDENTITY_VARIABLE):
        return _stated(identity)
    if jobs_dir is None:
        raise AgentError(
            "A simulated enclave measures its job files, and there are none.",
            code="jobs-dir-missing",
            expected="jobs_dir",
            action="name the folder of job files in the launch file",
        )
    return simulated_measurement(jobs_dir)


def simulated_measurement(jobs_dir: Path) -> Measurement:
    """Measure agent, runner and job files: SHA-256 over the sorted (relative name, SHA-256) list.

    Only ``.py`` and the runner's ``.jar`` files count, and neither the time nor the place of the files.

    :raises AgentError: ``jobs-missing`` when there is no job file.
    """
    runner = {f"runner/{name}": digest for name, digest in Lock.digests().items()}
    agent = {f"agent/{name}": digest for name, digest in _sources(AGENT_DIR).items()}
    jobs = {f"jobs/{name}": digest for name, digest in _sources(jobs_dir).items()}
    if not jobs:
        raise AgentError(
            "There are no job files to measure.",
            code="jobs-missing",
            got=str(jobs_dir),
            expected="a folder with the jobs' .py files",
            action="correct jobs_dir",
        )
    listing = sorted((agent | runner | jobs).items())
    return Measurement(
        mrenclave=sha256_hex(canonical_json([list(entry) for entry in listing])),
        mrsigner=sha256_hex(DEVELOPMENT_SIGNER),
        product_id=PRODUCT_ID,
        svn=SVN,
    )


def _stated(text: str) -> Measurement:
    try:
        stated = json.loads(text)
        return Measurement(**{field.name: stated[field.name] for field in fields(Measurement)})
    except (ValueError, KeyError, TypeError) as error:
        raise AgentError(
            "The simulated enclave's identity is not readable.",
            code="identity-malformed",
            got=repr(error),
            expected=f"the identity that Occlum's stand-in puts into {IDENTITY_VARIABLE}",
            action="start the agent through the image's entrypoint",
        ) from error


def _sources(directory: Path) -> dict[str, str]:
    return {
        path.relative_to(directory).as_posix(): sha256_hex(path.read_bytes())
        for path in directory.rglob("*.py")
        if path.is_file()
    }
