"""The attestation provider's decision: from a request's body to a token, or to MAA's error.

Source: Azure Attestation REST API, "Attestation - Attest Sgx Enclave", 2022-08-01.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dcap_qvl

from confidential_spark.agent.protocol import MAX_QUOTE_BYTES, MAX_RUNTIME_DATA_BYTES
from confidential_spark.core import base64url
from confidential_spark.core.errors import VerificationError
from confidential_spark.simulation.enclave.software_quote import enclave_report, quote_length
from confidential_spark.simulation.hardware.authority import collateral, root_certificate_der
from confidential_spark.simulation.service.answers import Answer, invalid_parameter, ok
from confidential_spark.simulation.service.tokens import sign_token, token_claims
from confidential_spark.verification import strict_json
from confidential_spark.verification.json_object import JsonObject
from confidential_spark.verification.refusals import Refusal

if TYPE_CHECKING:
    from datetime import datetime

    from confidential_spark.simulation.service.tokens import DataType

API_VERSIONS = ("2020-10-01", "2022-08-01")
MAX_REQUEST_BYTES = 256 * 1024
MAX_NONCE_CHARACTERS = 1024

# dcap-qvl looks at the debug bit last, so with this reason everything else was found right. MAA issues
# tokens for debug enclaves too and leaves the judgement to the relying party.
DEBUG_REFUSAL = "Debug mode is enabled"


@dataclass(frozen=True)
class AttestRequest:
    """A well-formed request to attest an SGX enclave."""

    quote: bytes
    runtime_data: bytes
    data_type: DataType
    nonce: str | None

    @classmethod
    def parse(cls, body: bytes) -> AttestRequest:
        """Read a request's body.

        :raises Refused: ``InvalidParameter``.
        """
        try:
            return cls._parse(body)
        except VerificationError as error:
            raise invalid_parameter(error.diagnostics()) from error

    @classmethod
    def _parse(cls, body: bytes) -> AttestRequest:
        code = Refusal.RUNTIME_DATA_MALFORMED
        document = strict_json.loads(
            body, what="request", max_bytes=MAX_REQUEST_BYTES, malformed=code, duplicate=code
        )
        request = JsonObject.of(document, "request", code).only(
            ("quote", "runtimeData"), ("initTimeData", "nonce", "draftPolicyForAttestation")
        )
        for unsupported in ("initTimeData", "draftPolicyForAttestation"):
            if request.members.get(unsupported) is not None:
                raise invalid_parameter(f"{unsupported} is not supported by the simulated provider")
        runtime = request.object("runtimeData").only(("data", "dataType"))
        return cls(
            quote=_decode(request, "quote", MAX_QUOTE_BYTES),
            runtime_data=_decode(runtime, "data", MAX_RUNTIME_DATA_BYTES),
            data_type=_data_type(runtime),
            nonce=request.text("nonce", max_length=MAX_NONCE_CHARACTERS)
            if "nonce" in request.members
            else None,
        )


def attest(body: bytes, now: datetime) -> Answer:
    """Verify the quote in ``body`` and answer with a token.

    Checks what MAA checks: the quote's length and chain, the platform's TCB, and that report data is the
    SHA-256 of the runtime data. Does not judge who the enclave is; the relying party's policy does.

    :raises Refused: ``InvalidParameter``.
    """
    request = AttestRequest.parse(body)
    verify_quote(request.quote, now)
    require_binding(request)
    claims = token_claims(request.quote, request.runtime_data, now=now, data_type=request.data_type)
    if request.nonce is not None:
        claims["nonce"] = request.nonce
    return ok({"token": sign_token(claims)})


def verify_quote(quote: bytes, now: datetime) -> None:
    """Verify the quote against the development root.

    :raises Refused: ``InvalidParameter``.
    """
    # dcap-qvl ignores bytes that follow the quote.
    if quote_length(quote) != len(quote):
        raise invalid_parameter("The quote's length is not what its length fields say.")
    evidence = dcap_qvl.QuoteCollateralV3.from_json(json.dumps(collateral(now)))
    try:
        dcap_qvl.verify_with_root_ca(quote, evidence, root_certificate_der(), int(now.timestamp()))
    except ValueError as error:
        if not str(error).endswith(DEBUG_REFUSAL):
            raise invalid_parameter(f"The quote does not verify: {error}") from error


def require_binding(request: AttestRequest) -> None:
    """Check that the enclave vouches for the runtime data.

    :raises Refused: ``InvalidParameter``.
    """
    digest = hashlib.sha256(request.runtime_data).digest()
    if enclave_report(request.quote).report_data[: len(digest)] != digest:
        raise invalid_parameter("The quote's report data does not begin with SHA-256(runtimeData.data).")


def _data_type(runtime: JsonObject) -> DataType:
    value = runtime.text("dataType")
    if value == "Binary":
        return "Binary"
    if value == "JSON":
        _decode_json(_decode(runtime, "data", MAX_RUNTIME_DATA_BYTES))
        return "JSON"
    raise invalid_parameter(f"runtimeData.dataType is {value!r}, not 'Binary' or 'JSON'")


def _decode_json(data: bytes) -> None:
    code = Refusal.RUNTIME_DATA_MALFORMED
    document = strict_json.loads(
        data, what="runtime data", max_bytes=MAX_RUNTIME_DATA_BYTES, malformed=code, duplicate=code
    )
    JsonObject.of(document, "runtime data", code)


def _decode(holder: JsonObject, name: str, max_bytes: int) -> bytes:
    """Return a base64 member: base64url without padding, or standard base64 with it, as Occlum sends."""
    text = holder.text(name, max_length=max_bytes * 4 // 3 + 4)
    try:
        return base64url.decode_standard(text) if set(text) & set("+/=") else base64url.decode(text)
    except ValueError as error:
        raise invalid_parameter(f"{name} is neither base64url nor padded base64: {error}") from error
