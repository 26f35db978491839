"""SGX ECDSA quotes, version 3, field by field.

Source: Intel, *SGX ECDSA Quote Library Reference*, appendix A (quote format), and the *Intel 64 SDM* vol. 3D,
REPORT structure. dcap-qvl's own report object lacks the product id and the security version.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from confidential_spark.verification.refusals import Refusal, refuse, require_equal

HEADER_BYTES = 48
REPORT_BYTES = 384
SIGNED_BYTES = HEADER_BYTES + REPORT_BYTES
INTEL_QE_VENDOR_ID = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
PCK_CHAIN_CERTIFICATION = 5
QE_AUTHENTICATION_BYTES = 32

_HEADER = struct.Struct("<HHIHH16s20s")
_REPORT = struct.Struct("<16s4s12s16s16s32s32s32s32s64sHHH42s16s64s")
_SIGNATURE_FIXED_BYTES = 64 + 64 + REPORT_BYTES + 64
_ATTRIBUTE_DEBUG = 0x02


@dataclass(frozen=True)
class ReportBody:
    """The enclave's own report inside a quote: who it is and what it vouches for."""

    attributes: bytes
    misc_select: int
    reserved: bytes
    isv_extended_product_id: bytes
    mrenclave: str
    mrsigner: str
    config_id: bytes
    product_id: int
    svn: int
    config_svn: int
    isv_family_id: bytes
    report_data: bytes

    @classmethod
    def from_quote(cls, raw: bytes) -> ReportBody:
        """Read the report body of a quote whose header says that there is one, whatever follows it.

        :raises VerificationError: ``quote-malformed`` when the quote ends before the body does,
            ``quote-unsupported`` for another kind of quote.
        """
        if len(raw) < SIGNED_BYTES:
            got, expected = f"{len(raw)} bytes", f"at least {SIGNED_BYTES} bytes"
            refuse(Refusal.QUOTE_MALFORMED, "The quote ends inside its report.", got=got, expected=expected)
        _require_supported(raw)
        fields = _REPORT.unpack_from(raw, HEADER_BYTES)
        return cls(
            misc_select=int.from_bytes(fields[1], "little"),
            reserved=fields[2] + fields[6] + fields[8] + fields[13],
            isv_extended_product_id=fields[3],
            attributes=fields[4],
            mrenclave=fields[5].hex(),
            mrsigner=fields[7].hex(),
            config_id=fields[9],
            product_id=fields[10],
            svn=fields[11],
            config_svn=fields[12],
            isv_family_id=fields[14],
            report_data=fields[15],
        )

    @property
    def debuggable(self) -> bool:
        """Whether the enclave runs with the DEBUG attribute."""
        return bool(self.attributes[0] & _ATTRIBUTE_DEBUG)


@dataclass(frozen=True)
class SgxQuote:
    """A whole quote whose length fields all agree."""

    report: ReportBody
    pck_chain_pem: bytes

    @classmethod
    def parse(cls, raw: bytes) -> SgxQuote:
        """Read a quote.

        :raises VerificationError: ``quote-unsupported`` for other quotes, ``quote-length`` when bytes
            are missing or left over, ``quote-malformed`` when the inner lengths contradict each other.
        """
        return cls(ReportBody.from_quote(raw), _certification_data(_signature_data(raw)))


def _require_supported(raw: bytes) -> None:
    version, key_type, tee, _, _, vendor, _ = _HEADER.unpack_from(raw)
    for name, got, expected in (
        ("version", version, 3),
        ("attestation key type", key_type, 2),
        ("TEE type", tee, 0),
        ("QE vendor id", vendor.hex(), INTEL_QE_VENDOR_ID.hex()),
    ):
        require_equal(Refusal.QUOTE_UNSUPPORTED, got, expected, f"The quote's {name} is not supported.")


def _signature_data(raw: bytes) -> bytes:
    start = SIGNED_BYTES + 4
    if len(raw) < start:
        refuse(Refusal.QUOTE_LENGTH, got=f"{len(raw)} bytes", expected=f"over {start} bytes")
    (length,) = struct.unpack_from("<I", raw, SIGNED_BYTES)
    require_equal(Refusal.QUOTE_LENGTH, len(raw), start + length, "The quote has another number of bytes.")
    return raw[start:]


def _certification_data(signature: bytes) -> bytes:
    authentication_start = _SIGNATURE_FIXED_BYTES + 2
    if len(signature) < authentication_start:
        _malformed(f"{len(signature)} bytes of signature data", f"at least {authentication_start}")
    (authentication_length,) = struct.unpack_from("<H", signature, _SIGNATURE_FIXED_BYTES)
    start = authentication_start + authentication_length + 6
    if len(signature) < start:
        _malformed(f"{authentication_length} bytes of authentication data", "what fits into the signature")
    kind, length = struct.unpack_from("<HI", signature, start - 6)
    for what, got, expected in (
        ("authentication data's number of bytes", authentication_length, QE_AUTHENTICATION_BYTES),
        ("type of certification data", kind, PCK_CHAIN_CERTIFICATION),
    ):
        require_equal(Refusal.QUOTE_UNSUPPORTED, got, expected, f"The {what} is not supported.")
    if len(signature) != start + length:
        _malformed(f"{length} bytes of certificates", f"{len(signature) - start} bytes")
    return signature[start:]


def _malformed(got: str, expected: str) -> None:
    message = "The quote's inner lengths contradict each other."
    refuse(Refusal.QUOTE_MALFORMED, message, got=got, expected=expected)
