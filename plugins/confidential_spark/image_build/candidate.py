"""What the tasks of DAG `enclave_image` hand on: what an image is made from, and how far it is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Self

from confidential_spark.core.errors import ConfigurationError
from confidential_spark.enclave.image import OPEN_CONTAINERS, PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from confidential_spark.image_build.context import BuildContext

STAGE = f"{PREFIX}stage"
REVISION = f"{OPEN_CONTAINERS}revision"
DESCRIPTION = tuple(
    f"{OPEN_CONTAINERS}{name}"
    for name in ("title", "version", "revision", "base.name", "base.digest", "licenses")
)
TITLE = "confidential-spark enclave"
# The form in which the ledger keeps a revision.
_REVISION_FORM = r"[0-9a-f]{7,64}(-dirty)?"


@dataclass(frozen=True)
class ImageInputs:
    """What one image is made from, by digest.

    :param pull: reference of a ready image, or None to build one.
    :param inputs_sha256: digest of the build context; None for a ready image, as are the following.
    :param mrsigner: who will sign it.
    :param revision: git revision of the sources.
    """

    trust: str
    pull: str | None = None
    inputs_sha256: str | None = None
    mrsigner: str | None = None
    revision: str | None = None

    @property
    def unsigned_labels(self) -> dict[str, str]:
        """The labels by which the engine finds what was built of these inputs."""
        return {f"{PREFIX}inputs": str(self.inputs_sha256), f"{PREFIX}trust": self.trust, STAGE: "unsigned"}

    @property
    def signed_labels(self) -> dict[str, str]:
        """The labels by which the engine finds what was built of these inputs and signed with this key."""
        return self.unsigned_labels | {f"{PREFIX}mrsigner": str(self.mrsigner), STAGE: "signed"}

    def description(self, context: BuildContext, base_name: str) -> dict[str, str]:
        """Return the labels of the Open Container Initiative, for people and for bills of materials."""
        try:
            ours = version("confidential-spark")
        except PackageNotFoundError:
            ours = "unknown"
        base_digest = context.base_image.rpartition("@")[2]
        texts = (f"{TITLE} ({self.trust})", ours, str(self.revision), base_name, base_digest, "Apache-2.0")
        return dict(zip(DESCRIPTION, texts, strict=True))


@dataclass(frozen=True)
class ImageCandidate:
    """An image on its way to approval.

    :param image_id: what the engine calls it.
    :param reference: what runs will start; it ends with the image's digest.
    :param signed: whether the enclave in it is built and signed.
    """

    image_id: str
    reference: str
    signed: bool

    @classmethod
    def on_engine(cls, image_id: str, *, signed: bool) -> Self:
        """Return an image that no registry knows."""
        return cls(image_id, image_id, signed)

    @property
    def digest(self) -> str:
        """``sha256:…``: the registry's digest, else the image's id."""
        return self.reference.rpartition("@")[2]


def revision_of(labels: Mapping[str, str]) -> str:
    """Return the git revision that an image says it was built from.

    :raises ConfigurationError: ``image-revision-missing``.
    """
    revision = labels.get(REVISION, "")
    if re.fullmatch(_REVISION_FORM, revision) is None:
        raise ConfigurationError(
            "The image does not say which revision it was built from, so nobody could approve it.",
            code="image-revision-missing",
            got=revision or "nothing",
            expected=f"a git commit in the label {REVISION}",
            action="name an image that DAG enclave_image built",
        )
    return revision
