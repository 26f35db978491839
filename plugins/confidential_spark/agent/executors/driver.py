"""The driver's view of its executors: other enclaves, which get the run's secret for their attestation."""

from __future__ import annotations

import base64
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from confidential_spark.agent.attestation.provider import provider_keys
from confidential_spark.agent.errors import AgentError, ExitCode
from confidential_spark.agent.executors.input_list import input_list
from confidential_spark.agent.executors.peer import AttestationAnchor, Expected, mrenclave_of, verify_peer
from confidential_spark.agent.executors.secret_release import SecretRelease
from confidential_spark.agent.launch.launch_file import cluster_launch
from confidential_spark.agent.progress import say
from confidential_spark.agent.protocol import report_data

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cryptography.hazmat.primitives.asymmetric import ec

    from confidential_spark.agent.attestation.attest import Attestation
    from confidential_spark.agent.data.files import InputFile
    from confidential_spark.agent.executors.peer import PeerAttestation
    from confidential_spark.agent.executors.secret_release import Verify
    from confidential_spark.agent.launch.launch_file import LaunchSpec

# Measured with the image; `docker/enclave/build-enclave` writes it.
ANCHOR_FILE = Path("/opt/confidential-spark/attestation-anchor.json")
# As Spark names it where it hands the secret to a process of its own (`SecurityManager.ENV_AUTH_SECRET`).
SPARK_SECRET_VARIABLE = "_SPARK_AUTH_SECRET"  # noqa: S105 - a name


@dataclass(frozen=True)
class ExecutorEnclaves:
    """A distributed run's executors, from the driver's enclave.

    :param address: the pod's, on which Spark's driver listens.
    :param secret_file: the Spark secret, in private storage.
    """

    address: str
    secret_file: Path
    release: SecretRelease

    def settings(self) -> dict[str, str]:
        """Return the settings that the host has no say in."""
        # With a file for the executors Spark does not write the secret into their pods.
        return {
            "spark.driver.bindAddress": self.address,
            "spark.driver.host": self.address,
            "spark.authenticate.secret.driver.file": str(self.secret_file),
            "spark.authenticate.secret.executor.file": str(self.secret_file),
        }

    def say(self, line: str) -> None:
        """Print Spark's line, and end the run as soon as another program has asked for its secret."""
        say(line)
        self.release.raise_for_intruder()

    def records(self) -> list[dict[str, Any]]:
        """Return the attestations of all executors, replaced ones included.

        :raises AgentError: ``executors-missing``: Spark answered, and no attested executor was there.
        """
        # First: an executor that came after the list was taken would have the secret and be in no evidence.
        self.release.close()
        self.release.raise_for_intruder()
        if not (records := self.release.records()):
            raise AgentError(
                "Spark finished, and no executor had attested itself.",
                exit_code=ExitCode.RESULTS_INCOMPLETE,
                code="executors-missing",
                got="no attestation",
                expected="one for each executor",
                action="do not trust this image: its Spark runs without the secret",
            )
        return records


@contextmanager
def executor_enclaves(
    spec: LaunchSpec,
    key: ec.EllipticCurvePrivateKey,
    own: Attestation,
    work_dir: Path,
    inputs: Sequence[InputFile],
) -> Iterator[ExecutorEnclaves | None]:
    """Release the run's secret to its executors for the time of the run; None where there are none.

    :param inputs: what they may read; complete before anybody can ask.
    :raises AgentError: ``anchor-unusable``, ``quote-foreign``, ``launch-invalid``, ``input-not-listable``,
        ``release-port-unavailable``.
    """
    if not spec.distributed:
        yield None
        return
    launch = cluster_launch(spec)
    release = SecretRelease(
        (launch.pod_ip, launch.release_port),
        own=own.record(),
        key=key,
        inputs=input_list(inputs),
        source=(spec.input, spec.input_files) if spec.input and spec.input_files else None,
        verify=peer_verifier(spec, own),
        work_dir=work_dir,
        say=say,
    )
    secret_file = work_dir / "spark-secret"
    secret_file.touch(mode=0o600, exist_ok=False)
    secret_file.write_bytes(release.secret)
    try:
        with release.listening():
            yield ExecutorEnclaves(launch.pod_ip, secret_file, release)
    finally:
        secret_file.unlink(missing_ok=True)


def peer_verifier(spec: LaunchSpec, own: Attestation, anchor_file: Path | None = None) -> Verify:
    """Return the judgement of another enclave of this run, with what this image pins.

    :raises AgentError: ``anchor-unusable``, ``quote-foreign``.
    """
    anchor = AttestationAnchor.read(anchor_file or ANCHOR_FILE)
    mrenclave = mrenclave_of(own.quote, report_data(own.runtime_data))
    # Pinned keys may come from anywhere; others only from the issuer that the image names.
    url = spec.attestation_url if anchor.token_signing_keys else anchor.issuer
    keys = cache(lambda: provider_keys(url))

    def verify(peer: PeerAttestation) -> Any:
        expected = Expected(anchor, mrenclave, spec.nonce_bytes, spec.run_id, int(time.time()))
        return verify_peer(peer, keys(), expected)

    return verify


def as_spark_reads_it(secret: bytes) -> str:
    """Return the secret in the form in which Spark's driver has read it from its file."""
    return base64.b64encode(secret).decode("ascii")
