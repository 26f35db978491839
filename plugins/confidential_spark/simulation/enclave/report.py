"""The 384-byte SGX report body: who an enclave is, and the 64 bytes it says.

Source: Intel SGX ECDSA QuoteLibReference DCAP API, "Enclave Report Body"; little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from confidential_spark.agent.protocol import REPORT_DATA_BYTES
from confidential_spark.core.errors import ConfigurationError
from confidential_spark.simulation.hardware.pck_extension import CPU_SVN

MEASUREMENT_BYTES = 32
MAX_UINT16 = 0xFFFF
# CPUSVN, MISCSELECT, reserved + extended product id, flags, XFRM, MRENCLAVE, reserved, MRSIGNER,
# reserved + CONFIGID, product id, SVN, CONFIGSVN + reserved + family id, report data
REPORT_BODY = struct.Struct("<16s I 28x Q Q 32s 32x 32s 96x H H 60x 64s")

FLAG_INITIALIZED, FLAG_DEBUG, FLAG_64BIT, FLAG_PROVISION_KEY = 0x01, 0x02, 0x04, 0x10
XFRM = 0xE7  # x87, SSE, AVX, AVX-512 and protection keys: what an Ice Lake enclave has


@dataclass(frozen=True)
class EnclaveIdentity:
    """What SGX measures of an enclave.

    :param mrenclave: 32 bytes, the measurement of its code and data.
    :param mrsigner: 32 bytes, the hash of its signer's key.
    :param product_id: the signer's number for the product, 0…65535.
    :param svn: the product's security version, 0…65535.
    :param debug: whether a debugger may read the enclave's memory.
    """

    mrenclave: bytes
    mrsigner: bytes
    product_id: int
    svn: int
    debug: bool = False

    def __post_init__(self) -> None:
        """Refuse what a report cannot hold.

        :raises ConfigurationError: ``enclave-identity-invalid``.
        """
        for name in ("mrenclave", "mrsigner"):
            value = getattr(self, name)
            _require(isinstance(value, bytes) and len(value) == MEASUREMENT_BYTES, name, value, "32 bytes")
        for name in ("product_id", "svn"):
            value = getattr(self, name)
            _require(type(value) is int and 0 <= value <= MAX_UINT16, name, value, "an integer 0…65535")

    @property
    def flags(self) -> int:
        """The report's attribute flags."""
        return FLAG_INITIALIZED | FLAG_64BIT | (FLAG_DEBUG if self.debug else 0)


@dataclass(frozen=True)
class EnclaveReport:
    """A report body: the enclave's identity and its report data."""

    identity: EnclaveIdentity
    report_data: bytes
    extra_flags: int = 0

    def pack(self) -> bytes:
        """Return the 384 bytes.

        :raises ConfigurationError: ``report-data-length`` when the report data is not 64 bytes.
        """
        if len(self.report_data) != REPORT_DATA_BYTES:
            raise ConfigurationError(
                "Report data has a fixed length.",
                code="report-data-length",
                got=f"{len(self.report_data)} bytes",
                expected=f"{REPORT_DATA_BYTES} bytes",
            )
        who = self.identity
        return REPORT_BODY.pack(
            CPU_SVN,
            0,
            who.flags | self.extra_flags,
            XFRM,
            who.mrenclave,
            who.mrsigner,
            who.product_id,
            who.svn,
            self.report_data,
        )

    @classmethod
    def unpack(cls, body: bytes) -> EnclaveReport:
        """Read the 384 bytes of a report body."""
        _, _, flags, _, mrenclave, mrsigner, product_id, svn, report_data = REPORT_BODY.unpack(body)
        identity = EnclaveIdentity(mrenclave, mrsigner, product_id, svn, debug=bool(flags & FLAG_DEBUG))
        return cls(identity, report_data)


def _require(condition: bool, name: str, got: object, expected: str) -> None:
    if not condition:
        raise ConfigurationError(
            f"An enclave's {name} is not valid.", code="enclave-identity-invalid", got=got, expected=expected
        )
