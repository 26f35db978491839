"""SGX quotes made in software, under the development root: `SoftwareQuote`.

Source: Intel SGX ECDSA QuoteLibReference DCAP API, quote format version 3; little-endian.
"""

from __future__ import annotations

import struct
from typing import ClassVar

from confidential_spark.agent.protocol import TRUST_SIMULATED
from confidential_spark.simulation.enclave import quoting_enclave
from confidential_spark.simulation.enclave.report import REPORT_BODY, EnclaveIdentity, EnclaveReport
from confidential_spark.simulation.hardware import certificates
from confidential_spark.simulation.hardware.keys import raw_signature
from confidential_spark.simulation.hardware.pck_extension import PCE_SVN

__all__ = ["EnclaveIdentity", "SoftwareQuote", "enclave_report", "quote_length"]

QUOTE_VERSION = 3
ECDSA_P256 = 2
# The format's constant for "Intel's DCAP quote layout"; verifiers accept no other.
QE_VENDOR_ID = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
PCK_CERTIFICATE_CHAIN = 5
LENGTH = struct.Struct("<I")
# version, key type, reserved, QE SVN, PCE SVN, QE vendor, QE id + 4 reserved bytes
HEADER = struct.Struct("<H H 4x H H 16s 16s 4x")


class SoftwareQuote:
    """Quotes for one simulated enclave; implements the agent's `QuoteProvider`."""

    trust: ClassVar[str] = TRUST_SIMULATED

    def __init__(self, identity: EnclaveIdentity) -> None:
        """Quote as the enclave ``identity``, whatever program really runs."""
        self.identity = identity

    def quote(self, report_data: bytes) -> bytes:
        """Return a version 3 quote over 64 bytes of report data; the same input gives the same quote.

        :raises ConfigurationError: ``report-data-length``.
        """
        signed = _header() + EnclaveReport(self.identity, report_data).pack()
        authentication = _signature_data(signed)
        return signed + LENGTH.pack(len(authentication)) + authentication


def enclave_report(quote: bytes) -> EnclaveReport:
    """Return the report of the enclave that asked for ``quote``.

    :raises ValueError: the quote ends before its report does.
    """
    body = quote[HEADER.size : HEADER.size + REPORT_BODY.size]
    if len(body) != REPORT_BODY.size:
        raise ValueError(f"a quote of {len(quote)} bytes has no enclave report")
    return EnclaveReport.unpack(body)


def quote_length(quote: bytes) -> int:
    """Return the length that a quote's own length field gives it, or 0 when it ends before that field."""
    start = HEADER.size + REPORT_BODY.size
    if len(quote) < start + LENGTH.size:
        return 0
    (authentication_length,) = LENGTH.unpack_from(quote, start)
    return start + LENGTH.size + int(authentication_length)


def _header() -> bytes:
    return HEADER.pack(
        QUOTE_VERSION,
        ECDSA_P256,
        quoting_enclave.IDENTITY.svn,
        PCE_SVN,
        QE_VENDOR_ID,
        quoting_enclave.QE_ID,
    )


def _signature_data(signed: bytes) -> bytes:
    """Return ECDSA quote signature data: both signatures, both keys and the PCK chain."""
    chain = certificates.pem(certificates.pck_chain()).encode("ascii")
    authentication_data = quoting_enclave.AUTHENTICATION_DATA
    return b"".join(
        (
            raw_signature(quoting_enclave.attestation_key(), signed),
            quoting_enclave.attestation_public_key(),
            quoting_enclave.report(),
            quoting_enclave.report_signature(),
            struct.pack("<H", len(authentication_data)),
            authentication_data,
            struct.pack("<H I", PCK_CERTIFICATE_CHAIN, len(chain)),
            chain,
        )
    )
