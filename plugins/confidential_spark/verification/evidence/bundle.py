"""The bundle an outsider gets: ``evidence.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from confidential_spark.verification.evidence.statement import Statement
from confidential_spark.verification.json_object import JsonObject
from confidential_spark.verification.refusals import Refusal, require_equal

if TYPE_CHECKING:
    from collections.abc import Mapping

MEDIA_TYPE = "application/vnd.confidential-spark.evidence.v1+json"
MAX_EVIDENCE_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class Evidence:
    """A decoded bundle. Its ``jwks`` is a snapshot, trusted only where a policy pins the key."""

    bundle: JsonObject
    statement: Statement
    notice: str | None
    collateral: str
    jwks: str

    @classmethod
    def parse(cls, data: bytes) -> Evidence:
        """Read a bundle.

        :raises VerificationError: ``evidence-malformed``, ``evidence-duplicate-key``, ``statement-…``.
        """
        codes = Refusal.EVIDENCE_MALFORMED, Refusal.EVIDENCE_DUPLICATE_KEY
        bundle = JsonObject.parse(data, "evidence", MAX_EVIDENCE_BYTES, *codes)
        bundle.only(("mediaType", "notice", "envelope", "collateral", "jwks"))
        require_equal(bundle.code, bundle.text("mediaType"), MEDIA_TYPE, "Another kind of bundle.")
        return cls(
            bundle=bundle,
            statement=Statement.decode(bundle.object("envelope")),
            notice=bundle.optional_text("notice"),
            collateral=json.dumps(bundle.object("collateral").members),
            jwks=json.dumps(bundle.object("jwks").members),
        )


def evidence_bundle(
    envelope: Mapping[str, Any], *, notice: str | None, collateral: Mapping[str, Any], jwks: Mapping[str, Any]
) -> bytes:
    """Return ``evidence.json`` for an enclave's envelope.

    :param collateral: dcap-qvl's ``QuoteCollateralV3`` as JSON values.
    :param jwks: the attestation provider's key set at the time of the run.
    """
    parts = {"envelope": dict(envelope), "collateral": dict(collateral), "jwks": dict(jwks)}
    bundle = {"mediaType": MEDIA_TYPE, "notice": notice, **parts}
    return (json.dumps(bundle, ensure_ascii=False, indent=1) + "\n").encode()
