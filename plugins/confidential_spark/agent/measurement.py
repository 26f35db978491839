"""What a simulated enclave measures of itself, in place of SGX's MRENCLAVE."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from confidential_spark.agent.errors import AgentError
from confidential_spark.agent.exit_codes import ExitCode
from confidential_spark.agent.protocol import canonical_json, sha256_hex

AGENT_DIR = Path(__file__).resolve().parent
DEVELOPMENT_SIGNER = b"confidential-spark development signer v1"
PRODUCT_ID = 1
SVN = 1


@dataclass(frozen=True)
class Measurement:
    """An enclave's identity as SGX states it; hashes in lower-case hex."""

    mrenclave: str
    mrsigner: str
    product_id: int
    svn: int

    @property
    def image_digest(self) -> str:
        """The digest that stands for the image of a simulated enclave, which has none of its own."""
        return f"sha256:{self.mrenclave}"


def simulated_measurement(jobs_dir: Path) -> Measurement:
    """Measure the agent's sources and the job files: SHA-256 over the sorted (relative name, SHA-256) list.

    Only ``.py`` files count, and neither the time nor the place of the files.

    :raises AgentError: ``jobs-missing`` when there is no job file.
    """
    agent = {f"agent/{name}": digest for name, digest in _sources(AGENT_DIR).items()}
    jobs = {f"jobs/{name}": digest for name, digest in _sources(jobs_dir).items()}
    if not jobs:
        raise AgentError(
            "There are no job files to measure.",
            exit_code=ExitCode.BAD_LAUNCH,
            code="jobs-missing",
            got=str(jobs_dir),
            expected="a folder with the jobs' .py files",
            action="correct jobs_dir",
        )
    listing = sorted((agent | jobs).items())
    return Measurement(
        mrenclave=sha256_hex(canonical_json([list(entry) for entry in listing])),
        mrsigner=sha256_hex(DEVELOPMENT_SIGNER),
        product_id=PRODUCT_ID,
        svn=SVN,
    )


def _sources(directory: Path) -> dict[str, str]:
    return {
        path.relative_to(directory).as_posix(): sha256_hex(path.read_bytes())
        for path in directory.rglob("*.py")
        if path.is_file()
    }
