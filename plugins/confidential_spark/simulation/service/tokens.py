"""Tokens of the simulated attestation provider: real RS256 JWTs with the claims of real MAA tokens.

The signing key is public (see `development_keys`) and the issuer's name can never resolve (RFC 6761,
`.invalid`), so no policy that pins a real provider accepts them.

Source: Microsoft Azure Attestation, "Claim sets"; the claim names were taken from recorded tokens.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

from confidential_spark.agent.protocol import b64url, canonical_json, sha256_hex
from confidential_spark.simulation.enclave.software_quote import enclave_report
from confidential_spark.simulation.hardware.authority import collateral
from confidential_spark.simulation.hardware.certificates import token_signing_certificate
from confidential_spark.simulation.hardware.keys import token_signing_key

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from confidential_spark.simulation.enclave.report import EnclaveReport

DataType = Literal["Binary", "JSON"]

ISSUER = "https://simulated-attestation.invalid"
TOKEN_LIFETIME = timedelta(hours=8)
POLICY = (
    "version= 1.0;\n"
    "authorizationrules\n{\n  => permit(); // SIMULATED - proves nothing about hardware\n};\n"
    "issuancerules\n{\n};\n"
)
CLAIMS_SUPPORTED = (
    "nonce",
    "x-ms-ver",
    "x-ms-attestation-type",
    "x-ms-policy-hash",
    "x-ms-runtime",
    "x-ms-sgx-is-debuggable",
    "x-ms-sgx-mrenclave",
    "x-ms-sgx-mrsigner",
    "x-ms-sgx-product-id",
    "x-ms-sgx-svn",
    "x-ms-sgx-report-data",
    "x-ms-sgx-ehd",
    "x-ms-sgx-collateral",
)


def issue_token(
    quote: bytes,
    runtime_data: bytes,
    *,
    now: datetime,
    data_type: DataType = "Binary",
    issuer: str = ISSUER,
) -> str:
    """Return a signed token about ``quote``, without verifying anything.

    :param runtime_data: goes into ``x-ms-sgx-ehd`` (Binary) or ``x-ms-runtime`` (JSON).
    :raises ValueError: the quote has no report body, or the runtime data is not the JSON it should be.
    """
    return sign_token(token_claims(quote, runtime_data, now=now, data_type=data_type, issuer=issuer))


def token_claims(
    quote: bytes,
    runtime_data: bytes,
    *,
    now: datetime,
    data_type: DataType = "Binary",
    issuer: str = ISSUER,
) -> dict[str, Any]:
    """Return the claims MAA would make about ``quote``: current names and deprecated aliases."""
    report = enclave_report(quote)
    issued = int(now.timestamp())
    collateral_hashes = _collateral_hashes(quote, now)
    return {
        "iss": issuer,
        "iat": issued,
        "nbf": issued,
        "exp": issued + int(TOKEN_LIFETIME.total_seconds()),
        "jti": secrets.token_hex(32),
        "x-ms-ver": "1.0",
        "x-ms-attestation-type": "sgx",
        "x-ms-policy-hash": b64url(hashlib.sha256(POLICY.encode()).digest()),
        "x-ms-sgx-collateral": collateral_hashes,
        "maa-attestationcollateral": collateral_hashes,
        **_report_claims(report),
        **_runtime_claims(runtime_data, data_type),
    }


def sign_token(claims: Mapping[str, Any], header: Mapping[str, Any] | None = None) -> str:
    """Return ``claims`` as a compact RS256 JWT.

    :param header: the protected header; by default the one that belongs to the claims' issuer.
    """
    header = header or {"alg": "RS256", "jku": f"{claims['iss']}/certs", "kid": key_id(), "typ": "JWT"}
    signing_input = f"{b64url(canonical_json(dict(header)))}.{b64url(canonical_json(dict(claims)))}"
    signature = token_signing_key().sign(signing_input.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signing_input}.{b64url(signature)}"


@cache
def key_id() -> str:
    """Return the signing key's id: base64 of its SHA-256, with padding, as MAA's own."""
    spki = (
        token_signing_certificate()
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return base64.b64encode(hashlib.sha256(spki).digest()).decode("ascii")


def jwks() -> dict[str, Any]:
    """Return the provider's signing keys with ``kid``, ``kty`` and ``x5c`` only, as MAA does."""
    certificate = token_signing_certificate().public_bytes(serialization.Encoding.DER)
    return {"keys": [{"kid": key_id(), "kty": "RSA", "x5c": [base64.b64encode(certificate).decode("ascii")]}]}


def openid_configuration(issuer: str = ISSUER) -> dict[str, Any]:
    """Return the provider's metadata document."""
    return {
        "issuer": issuer,
        "jwks_uri": f"{issuer}/certs",
        "response_types_supported": ["token", "none"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "claims_supported": list(CLAIMS_SUPPORTED),
    }


def _report_claims(report: EnclaveReport) -> dict[str, Any]:
    """Return the enclave's identity under its current names and under the deprecated ones."""
    identity = report.identity
    values = {
        "is-debuggable": identity.debug,
        "mrenclave": identity.mrenclave.hex(),
        "mrsigner": identity.mrsigner.hex(),
        "product-id": identity.product_id,
        "svn": identity.svn,
    }
    aliases = {f"sgx-{name}" if name.startswith("mr") else name: value for name, value in values.items()}
    aliases["tee"] = "sgx"
    return {
        **{f"x-ms-sgx-{name}": value for name, value in values.items()},
        "x-ms-sgx-report-data": report.report_data.hex(),
        **aliases,
        "x-ms-policy": aliases,
    }


def _runtime_claims(runtime_data: bytes, data_type: DataType) -> dict[str, Any]:
    if data_type == "JSON":
        return {"x-ms-runtime": json.loads(runtime_data)}
    held = b64url(runtime_data)
    return {"x-ms-sgx-ehd": held, "aas-ehd": held, "maa-ehd": held}


def _collateral_hashes(quote: bytes, now: datetime) -> dict[str, str]:
    """Return the hex SHA-256 of the quote and of each piece of collateral it was verified with."""
    used = collateral(now)
    issuer_chain, revocation_list = used["tcb_info_issuer_chain"].encode(), bytes.fromhex(used["root_ca_crl"])
    parts = {
        "quotehash": quote,
        "qeidhash": used["qe_identity"].encode(),
        "qeidcertshash": issuer_chain,
        "qeidcrlhash": revocation_list,
        "tcbinfohash": used["tcb_info"].encode(),
        "tcbinfocertshash": issuer_chain,
        "tcbinfocrlhash": revocation_list,
    }
    return {name: sha256_hex(data) for name, data in parts.items()}
