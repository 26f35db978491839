"""Enclave images whose agent is a line of shell: no layers of their own, so each is made in a moment."""

from __future__ import annotations

import hashlib
import io
import json
from typing import TYPE_CHECKING

from confidential_spark.enclave.image import EnclaveImage

if TYPE_CHECKING:
    from docker import DockerClient

# As the agent leaves its results: the envelope last.
SIGN = "echo '{}' > /host/data/results/envelope.json"


def stub_image(engine: DockerClient, base: str, script: str, *, trust: str = "simulated") -> EnclaveImage:
    """Return an image whose entrypoint is ``script``, labelled as a signed enclave image."""
    digest = hashlib.sha256(script.encode()).hexdigest()
    said = EnclaveImage(
        reference=f"sha256:{digest}",
        digest=f"sha256:{digest}",
        trust=trust,
        mrenclave=digest,
        mrsigner=digest,
        product_id=1,
        svn=2,
        debuggable=False,
        inputs_sha256=digest,
    )
    labels = "".join(f"LABEL {name}={json.dumps(value)}\n" for name, value in said.labels().items())
    entrypoint = json.dumps(["/bin/sh", "-c", script, "enclave"])
    folders = "RUN mkdir -p /host/launch /host/data /opt/enclave/run\n"
    dockerfile = f"FROM {base}\n{folders}{labels}ENTRYPOINT {entrypoint}\n"
    image, _ = engine.images.build(
        fileobj=io.BytesIO(dockerfile.encode()),
        labels={"org.confidential-spark.test": "stub"},
        rm=True,
        network_mode="none",
    )
    return EnclaveImage.from_labels(str(image.id), str(image.id), image.labels)
