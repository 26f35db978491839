"""Another enclave of the same run: is it one of ours? Decided inside this enclave.

Driver and executors judge each other's attestation before a secret passes between them. What they compare
with is measured: the same MRENCLAVE as their own, and an anchor file in the image that names the attestation
provider and the signer. The host chooses none of it. Whoever verifies the run's evidence judges every
attestation again, in full (`verification/verify.py`); this is the part that cannot wait until then.

Sources: RFC 7515/7517 (JWS, JWK), Microsoft Azure Attestation "Claim sets", Intel SDM vol. 3D (REPORT).
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from confidential_spark.agent.errors import AgentError, ExitCode
from confidential_spark.agent.launch.json_input import parse_object
from confidential_spark.agent.protocol import (
    MAX_QUOTE_BYTES,
    MAX_RUNTIME_DATA_BYTES,
    MAX_TOKEN_BYTES,
    JobIdentity,
    b64url,
    public_jwk,
    report_data,
    runtime_data,
    sha256_hex,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BASE64URL = re.compile(r"[A-Za-z0-9_-]*")
DIGEST = re.compile(r"[0-9a-f]{64}")
SMALLEST_RSA_BITS = 2048
# Offsets in an SGX quote: 48 bytes of header, then the report body.
MRENCLAVE_AT, REPORT_DATA_AT, REPORT_BODY_ENDS = 48 + 64, 48 + 320, 48 + 384
CLOCK_SKEW_SECONDS = 300


@dataclass(frozen=True)
class AttestationAnchor:
    """Whom this image trusts; part of its measurement.

    :param issuer: the attestation provider's address, as it stands in tokens.
    :param token_signing_keys: SHA-256 of the provider's keys (SubjectPublicKeyInfo), hex; empty where they
        are fetched from the issuer itself.
    :param mrsigner: who signs our enclaves. A host could pass off another enclave's quote as ours, and then
        "the same MRENCLAVE" alone would admit that enclave's twins; it cannot have them signed with our key.
    """

    issuer: str
    token_signing_keys: tuple[str, ...]
    mrsigner: str
    product_id: int
    svn: int

    @classmethod
    def read(cls, path: Path) -> AttestationAnchor:
        """Read the image's anchor.

        :raises AgentError: ``anchor-unusable``: the image was built without one.
        """
        try:
            members = parse_object(path.read_bytes())
            anchor = cls(**{**members, "token_signing_keys": tuple(members["token_signing_keys"])})
            anchor._check()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise AgentError(
                "The image does not say whom its enclaves may trust.",
                code="anchor-unusable",
                got=str(error),
                expected=f"{path}, written when the enclave is built",
                action="build the enclave image again",
            ) from error
        return anchor

    def _check(self) -> None:
        if not str(self.issuer).startswith("https://") or not DIGEST.fullmatch(self.mrsigner):
            raise ValueError("issuer or mrsigner is malformed")
        if not all(DIGEST.fullmatch(key) for key in self.token_signing_keys):
            raise ValueError("a token signing key is malformed")
        if type(self.product_id) is not int or type(self.svn) is not int:
            raise ValueError("product_id and svn must be integers")


@dataclass(frozen=True)
class PeerAttestation:
    """What an enclave shows of itself to another one."""

    quote: bytes
    token: str
    runtime_data: bytes

    @classmethod
    def from_record(cls, record: object) -> PeerAttestation:
        """Read what :meth:`confidential_spark.agent.runner.Attestation.record` wrote.

        :raises AgentError: ``peer-malformed``.
        """
        if not isinstance(record, dict) or set(record) != {"quote", "token", "runtime_data"}:
            _malformed("the members", "quote, token and runtime_data")
        token = record["token"]
        if not isinstance(token, str) or not 0 < len(token) <= MAX_TOKEN_BYTES:
            _malformed("the token", f"at most {MAX_TOKEN_BYTES} characters")
        return cls(
            quote=_decoded(record["quote"], "the quote", MAX_QUOTE_BYTES),
            token=token,
            runtime_data=_decoded(record["runtime_data"], "the runtime data", MAX_RUNTIME_DATA_BYTES),
        )


@dataclass(frozen=True)
class Expected:
    """What makes an enclave one of this run.

    :param mrenclave: this enclave's own measurement, hex.
    :param now: seconds since 1970, by the host's clock; freshness rests on the nonce.
    """

    anchor: AttestationAnchor
    mrenclave: str
    nonce: bytes
    run_id: str
    now: int


def mrenclave_of(quote: bytes, report: bytes) -> str:
    """Return the measurement in this enclave's own quote, which must be about our report data.

    :raises AgentError: ``quote-foreign``.
    """
    if len(quote) < REPORT_BODY_ENDS or quote[REPORT_DATA_AT:REPORT_BODY_ENDS] != report:
        raise AgentError(
            "The host gave a quote about something else.",
            exit_code=ExitCode.QUOTE_FAILED,
            code="quote-foreign",
            got=f"{len(quote)} bytes",
            expected="a quote over this enclave's report data",
            action="do not trust this host; look at its quoting service",
        )
    return struct.unpack_from("32s", quote, MRENCLAVE_AT)[0].hex()  # type: ignore[no-any-return]


def verify_peer(
    peer: PeerAttestation, jwks: bytes, expected: Expected
) -> tuple[JobIdentity, ec.EllipticCurvePublicKey]:
    """Accept an enclave of the same measurement and the same run; return its role and its attested key.

    :param jwks: the provider's key set.
    :raises AgentError: ``peer-malformed``, ``peer-token-invalid``, ``peer-measurement``, ``peer-foreign``.
    """
    claims = _verified_claims(peer.token, jwks, expected)
    _require_bound(claims, peer)
    # Anybody has enclaves with other programs. One that shows this run's nonce is of this run's making.
    member = _run_member(peer.runtime_data, expected)
    _require_twin(claims, expected)
    return member


def _verified_claims(token: str, jwks: bytes, expected: Expected) -> dict[str, Any]:
    """Return the claims of a token that the anchor's provider signed and that is valid now."""
    parts = token.split(".")
    if len(parts) != 3:
        _malformed("the token", "three parts")
    header, claims = (
        _object(_decoded(part, "the token", MAX_TOKEN_BYTES), "the token") for part in parts[:2]
    )
    if header.get("alg") != "RS256":
        _invalid("alg RS256")
    key = _signing_key(jwks, header.get("kid"), expected.anchor)
    signature = _decoded(parts[2], "the token", MAX_TOKEN_BYTES)
    try:
        key.verify(signature, f"{parts[0]}.{parts[1]}".encode(), padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        _invalid("the provider's signature")
    if claims.get("iss") != expected.anchor.issuer:
        _invalid(f"issuer {expected.anchor.issuer}")
    starts, ends = claims.get("nbf"), claims.get("exp")
    if type(starts) is not int or type(ends) is not int:
        _invalid("times nbf and exp")
    if not starts - CLOCK_SKEW_SECONDS <= expected.now < ends:
        _invalid(f"times around {expected.now}")
    return claims


def _signing_key(jwks: bytes, kid: object, anchor: AttestationAnchor) -> rsa.RSAPublicKey:
    """Return the one key of that name, from its certificate, as the provider publishes it."""
    entries = _object(jwks, "the key set").get("keys")
    listed = entries if isinstance(entries, list) else []
    found = [entry for entry in listed if isinstance(entry, dict) and entry.get("kid") == kid]
    if len(found) != 1 or not isinstance(kid, str):
        _invalid("a key that the provider has once")
    try:
        certificate = x509.load_der_x509_certificate(base64.b64decode(found[0]["x5c"][0], validate=True))
        key = certificate.public_key()
    except (ValueError, KeyError, IndexError, TypeError):
        _invalid("a key with a certificate in x5c")
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < SMALLEST_RSA_BITS:
        _invalid(f"RSA of {SMALLEST_RSA_BITS} bits or more")
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if anchor.token_signing_keys and sha256_hex(spki) not in anchor.token_signing_keys:
        _invalid("a key that the image pins")
    return key


def _require_bound(claims: Mapping[str, Any], peer: PeerAttestation) -> None:
    """Accept a token about exactly this quote and this runtime data."""
    collateral = claims.get("x-ms-sgx-collateral")
    quote_hash = collateral.get("quotehash") if isinstance(collateral, dict) else None
    for name, got, wanted in (
        ("x-ms-attestation-type", claims.get("x-ms-attestation-type"), "sgx"),
        ("x-ms-sgx-ehd", claims.get("x-ms-sgx-ehd"), b64url(peer.runtime_data)),
        ("x-ms-sgx-report-data", claims.get("x-ms-sgx-report-data"), report_data(peer.runtime_data).hex()),
        ("quotehash", quote_hash, sha256_hex(peer.quote)),
    ):
        if got != wanted:
            _invalid(f"{name} of this quote and this runtime data")


def _require_twin(claims: Mapping[str, Any], expected: Expected) -> None:
    """Accept the measurement that this enclave has itself.

    :raises AgentError: ``peer-measurement``: somebody started another image in this run.
    """
    anchor = expected.anchor
    svn = claims.get("x-ms-sgx-svn")
    wanted = {
        "x-ms-sgx-is-debuggable": False,
        "x-ms-sgx-mrenclave": expected.mrenclave,
        "x-ms-sgx-mrsigner": anchor.mrsigner,
        "x-ms-sgx-product-id": anchor.product_id,
    }
    for name, value in wanted.items():
        got = claims.get(name)
        if type(got) is not type(value) or got != value:
            _other_measurement(name, got, value)
    if type(svn) is not int or svn < anchor.svn:
        _other_measurement("x-ms-sgx-svn", svn, f"at least {anchor.svn}")


def _run_member(data: bytes, expected: Expected) -> tuple[JobIdentity, ec.EllipticCurvePublicKey]:
    """Return role and key from runtime data of this run, which has one canonical form."""
    members = _object(data, "the runtime data")
    try:
        job = JobIdentity(**members["job"])
        x, y = (int.from_bytes(_decoded(members["jwk"][name], "the key", 32), "big") for name in ("x", "y"))
        key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        jwk = public_jwk(key)
        ours = runtime_data(nonce=expected.nonce, run_id=expected.run_id, jwk=jwk, job=job)
    except (KeyError, TypeError, ValueError):
        _malformed("the runtime data", "job and P-256 key")
    if data != ours:
        raise _refused(
            "peer-foreign",
            "The other enclave belongs to another run.",
            got=None,
            expected=f"run {expected.run_id!r} and its nonce",
        )
    return job, key


def _object(data: bytes, what: str) -> dict[str, Any]:
    try:
        return parse_object(data)
    except ValueError:
        _malformed(what, "one JSON object")


def _decoded(text: object, what: str, limit: int) -> bytes:
    """Decode canonical, unpadded base64url of at most ``limit`` bytes."""
    if not isinstance(text, str) or len(text) > limit * 4 // 3 + 4 or not BASE64URL.fullmatch(text):
        _malformed(what, "base64url")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        _malformed(what, "base64url")
    if b64url(data) != text or len(data) > limit:
        _malformed(what, f"canonical base64url of at most {limit} bytes")
    return data


# What another enclave, or whoever plays one, says is in none of these messages: they are in our log, whose
# words decide whether a run is tried again.
def _refused(code: str, message: str, got: object, expected: object) -> AgentError:
    return AgentError(
        message,
        exit_code=ExitCode.ATTESTATION_REFUSED,
        code=code,
        got=got,
        expected=expected,
        action="start every pod of the run from the same approved image, by its digest",
    )


def _malformed(what: str, expected: str) -> NoReturn:
    raise _refused("peer-malformed", f"Not an attestation: {what}.", None, expected)


def _invalid(expected: str) -> NoReturn:
    raise _refused("peer-token-invalid", "The other enclave's token is not valid here.", None, expected)


def _other_measurement(name: str, got: object, expected: object) -> NoReturn:
    hexadecimal = isinstance(got, str) and DIGEST.fullmatch(got)
    shown = got if hexadecimal or isinstance(got, int) else "something else"
    raise _refused("peer-measurement", "The other enclave is another program.", f"{name} {shown}", expected)
