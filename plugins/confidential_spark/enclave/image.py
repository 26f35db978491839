"""The enclave image: what a signed image says about itself, in labels and between tasks.

Labels are claims of whoever built the image. They become facts by comparison: with the signed enclave when
the image is built, with the ledger before a run, and with the quote of every run.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from confidential_spark.agent.protocol import TRUST_HARDWARE, TRUST_SIMULATED
from confidential_spark.core.errors import ConfidentialSparkError, ConfigurationError, EnclaveError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from confidential_spark.verification import Policy
    from confidential_spark.verification.attestation.identity import EnclaveClaims

PREFIX = "org.confidential-spark."
# https://github.com/opencontainers/image-spec/blob/main/annotations.md
OPEN_CONTAINERS = "org.opencontainers.image."
DIGEST = r"sha256:[0-9a-f]{64}"
# https://github.com/distribution/reference: host[:port]/path[:tag]@digest, or the image's own id.
REFERENCE = rf"([a-z0-9][a-zA-Z0-9._:/-]{{0,255}}@)?{DIGEST}"
IDENTITY_FIELDS = ("mrenclave", "mrsigner", "product_id", "svn", "debuggable", "trust")
_HASH = r"[0-9a-f]{64}"
_UINT16 = r"0|[1-9][0-9]{0,4}"
_LABELS = {
    "trust": ("trust", f"{TRUST_HARDWARE}|{TRUST_SIMULATED}"),
    "mrenclave": ("mrenclave", _HASH),
    "mrsigner": ("mrsigner", _HASH),
    "product_id": ("product-id", _UINT16),
    "svn": ("svn", _UINT16),
    "debuggable": ("debuggable", "true|false"),
    "inputs_sha256": ("inputs", _HASH),
}


@dataclass(frozen=True)
class EnclaveImage:
    """One signed enclave image.

    :param reference: what an engine starts: the image's id, or ``repository@sha256:…``.
    :param digest: ``sha256:…``; the registry's digest of a pulled or pushed image, else the image's id.
    :param trust: ``hardware`` or ``simulated``.
    :param mrenclave: measurement of the enclave, lower-case hex, as is ``mrsigner``.
    :param inputs_sha256: digest of everything the image was built from.
    """

    reference: str
    digest: str
    trust: str
    mrenclave: str
    mrsigner: str
    product_id: int
    svn: int
    debuggable: bool
    inputs_sha256: str

    @classmethod
    def from_labels(cls, reference: str, digest: str, labels: Mapping[str, str] | None) -> Self:
        """Read what an image says about itself.

        :raises ConfigurationError: ``image-not-signed`` for an image without our labels, ``image-malformed``.
        """
        found = labels or {}
        texts = {name: found.get(PREFIX + label) for name, (label, _) in _LABELS.items()}
        if missing := [PREFIX + _LABELS[name][0] for name, text in texts.items() if text is None]:
            raise ConfigurationError(
                "The image is not a signed enclave image: it does not say what was measured.",
                code="image-not-signed",
                got=f"{reference} without {', '.join(missing)}",
                expected="the labels that DAG enclave_image gives",
                action="name an image that DAG enclave_image built",
            )
        return cls._checked({"reference": reference, "digest": digest, **texts})

    @classmethod
    def from_xcom(cls, value: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_xcom` wrote, strictly: an asset event can be made by hand.

        :raises ConfigurationError: ``image-malformed``.
        """
        known = set(cls.__dataclass_fields__)
        if not hasattr(value, "keys") or set(value) != known:
            raise _malformed(f"members {sorted(value)}", f"exactly {sorted(known)}")
        if type(value["debuggable"]) is not bool or any(
            type(value[name]) is not int for name in ("product_id", "svn")
        ):
            raise _malformed("text for a number or a truth value", "numbers and true or false")
        return cls._checked({name: _as_text(member) for name, member in value.items()})

    @classmethod
    def _checked(cls, texts: Mapping[str, Any]) -> Self:
        patterns = {name: pattern for name, (_, pattern) in _LABELS.items()}
        for name, pattern in {**patterns, "reference": REFERENCE, "digest": DIGEST}.items():
            if not isinstance(texts[name], str) or re.fullmatch(pattern, texts[name], re.ASCII) is None:
                raise _malformed(f"{name} {texts[name]!r}", f"text of the form {pattern}")
        numbers = {name: int(texts[name]) for name in ("product_id", "svn")}
        if max(numbers.values()) > 0xFFFF:
            raise _malformed(f"product id and svn {numbers}", "numbers up to 65535")
        return cls(**{**texts, **numbers, "debuggable": texts["debuggable"] == "true"})

    def labels(self) -> dict[str, str]:
        """Return the labels that say all this, without reference and digest, which no image knows."""
        values = asdict(self)
        return {PREFIX + label: _as_text(values[name]) for name, (label, _) in _LABELS.items()}

    def to_xcom(self) -> dict[str, Any]:
        """Return the image as a small XCom value, which is also the asset event's extra."""
        return asdict(self)

    @property
    def identity(self) -> EnclaveClaims:
        """The enclave's identity, to be judged by a policy."""
        # Imported late: settings import this module, and need no certificates to be read.
        from confidential_spark.verification.attestation.identity import EnclaveClaims

        return EnclaveClaims(
            debuggable=self.debuggable,
            mrenclave=self.mrenclave,
            mrsigner=self.mrsigner,
            product_id=self.product_id,
            svn=self.svn,
        )

    def require_trust(self, policy: Policy) -> None:
        """Refuse an image for another trust level than the policy's.

        :raises ConfigurationError: ``image-trust-mismatch``.
        """
        if self.trust != policy.trust:
            raise ConfigurationError(
                f"Policy {policy.name} cannot be satisfied by this image.",
                code="image-trust-mismatch",
                got=f"{self.reference[-78:]}, {self.trust}",
                expected=f"an image for {policy.trust}",
                action="name an image of that kind, or another policy for the platform",
            )


def read_identity(output: Sequence[str]) -> dict[str, Any]:
    """Return the identity in the last line that a container printed.

    :raises EnclaveError: ``measurement-unreadable``.
    """
    last = next((line for line in reversed(output) if line.strip()), "")
    try:
        found = json.loads(last)
        texts = {name: found[name] for name in IDENTITY_FIELDS}
        digest = f"sha256:{'0' * 64}"
        # The strict rules for events hold for this, too.
        EnclaveImage.from_xcom(texts | {"reference": digest, "digest": digest, "inputs_sha256": "0" * 64})
    except (ValueError, TypeError, KeyError, ConfidentialSparkError) as error:
        raise EnclaveError(
            "The image does not say what was measured.",
            code="measurement-unreadable",
            got=last or "nothing",
            expected=f"JSON with {', '.join(IDENTITY_FIELDS)}",
            action="build the image again; its entrypoint is of another revision",
        ) from error
    return texts


def asset_name(trust: str) -> str:
    """Return the asset whose latest event names the image that runs of this trust level use."""
    return f"enclave_image_{trust}"


def asset_uri(trust: str) -> str:
    """Return that asset's address; it names the asset, nothing can be fetched from it."""
    return f"confidential-spark://enclave-image/{trust}"


def _as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _malformed(got: str, expected: str) -> ConfigurationError:
    return ConfigurationError(
        "What is known about the enclave image is malformed.",
        code="image-malformed",
        got=got,
        expected=expected,
        action="run DAG enclave_image again",
    )
