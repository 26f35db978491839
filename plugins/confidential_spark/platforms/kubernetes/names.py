"""What a try's objects are called on a cluster: follows from its nonce, so that they are found again."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from confidential_spark.agent.protocol import sha256_hex
from confidential_spark.enclave.image import PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

# https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/
MAX_LABEL = 63
LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", re.ASCII)
NONCE_LABEL = f"{PREFIX}nonce"
RUN_LABELS = (f"{PREFIX}dag", f"{PREFIX}run")


@dataclass(frozen=True)
class TryNames:
    """Names of one try's objects.

    :param base: what all of them begin with; also the folder on the data volume.
    """

    base: str

    @classmethod
    def of(cls, job: str, nonce: str) -> TryNames:
        """Return the names of the try with this nonce."""
        return cls(f"{job.replace('_', '-')[:20]}-{nonce_digest(nonce)[:16]}")

    @property
    def driver(self) -> str:
        """Pod of Spark's driver."""
        return f"{self.base}-driver"

    @property
    def launch(self) -> str:
        """Secret with the driver's launch file."""
        return f"{self.base}-launch"

    @property
    def transfer(self) -> str:
        """Pod that keeps the try's folder on the data volume."""
        return f"{self.base}-transfer"

    @property
    def attest(self) -> str:
        """Pod of `attest_platform`."""
        return f"{self.base}-attest"

    @property
    def measure(self) -> str:
        """Pod that measures an image."""
        return f"{self.base}-measure"


def nonce_digest(nonce: str) -> str:
    """Return what stands for a nonce in labels, where base64url may not begin or end as it likes."""
    return sha256_hex(nonce.encode())[:32]


def label_value(text: str) -> str:
    """Return a text as a label's value: unchanged where it can be, else shortened, with a digest."""
    if LABEL.fullmatch(text):
        return text
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", text)[: MAX_LABEL - 9].strip("._-")
    return f"{readable}-{sha256_hex(text.encode())[:8]}".lstrip("-")


def selector(labels: Mapping[str, str]) -> str:
    """Return the label selector that all of these labels satisfy."""
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
