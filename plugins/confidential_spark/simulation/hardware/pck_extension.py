"""The simulated processor, and the Intel SGX extension that describes it in its PCK certificate.

Source: Intel SGX PCK Certificate and Certificate Revocation List Profile Specification, section 1.3.5.
The values imitate an Ice Lake server (what Azure's DCsv3 has), except for those that must be obviously fake.
"""

from __future__ import annotations

from cryptography import x509

SGX_EXTENSION_OID = "1.2.840.113741.1.13.1"

FMSPC = b"SIMULA"
PPID = b"SIMULATED PPID 1"
PLATFORM_INSTANCE_ID = b"SIMULATED INST 1"
PCE_ID = bytes(2)
PCE_SVN = 13
CPU_SVN = bytes.fromhex("0e0e0303ffff01000000000000000000")
SGX_TYPE_SCALABLE = 1

_BOOLEAN, _INTEGER, _OCTET_STRING, _ENUMERATED, _SEQUENCE = 0x01, 0x02, 0x04, 0x0A, 0x30
_DER_TRUE, _DER_FALSE = b"\xff", b"\x00"


def sgx_extension() -> x509.UnrecognizedExtension:
    """Return the simulated processor's extension: one SEQUENCE of (OID, value) pairs."""
    components = [_entry(f"2.{i}", _integer(svn)) for i, svn in enumerate(CPU_SVN, start=1)]
    tcb = [*components, _entry("2.17", _integer(PCE_SVN)), _entry("2.18", _der(_OCTET_STRING, CPU_SVN))]
    configuration = [
        _entry("7.1", _der(_BOOLEAN, _DER_TRUE)),  # dynamic platform, as every multi-package Ice Lake
        _entry("7.2", _der(_BOOLEAN, _DER_FALSE)),  # cached keys
        _entry("7.3", _der(_BOOLEAN, _DER_FALSE)),  # simultaneous multithreading
    ]
    entries = [
        _entry("1", _der(_OCTET_STRING, PPID)),
        _entry("2", _der(_SEQUENCE, b"".join(tcb))),
        _entry("3", _der(_OCTET_STRING, PCE_ID)),
        _entry("4", _der(_OCTET_STRING, FMSPC)),
        _entry("5", _der(_ENUMERATED, bytes([SGX_TYPE_SCALABLE]))),
        _entry("6", _der(_OCTET_STRING, PLATFORM_INSTANCE_ID)),
        _entry("7", _der(_SEQUENCE, b"".join(configuration))),
    ]
    return x509.UnrecognizedExtension(
        x509.ObjectIdentifier(SGX_EXTENSION_OID), _der(_SEQUENCE, b"".join(entries))
    )


def _entry(suffix: str, value: bytes) -> bytes:
    """Return SEQUENCE { OID 1.2.840.113741.1.13.1.suffix, value }."""
    return _der(_SEQUENCE, _object_identifier(f"{SGX_EXTENSION_OID}.{suffix}") + value)


def _integer(value: int) -> bytes:
    """Return a non-negative INTEGER."""
    return _der(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _object_identifier(dotted: str) -> bytes:
    """Return an OBJECT IDENTIFIER; arcs are base 128, most significant first (X.690, 8.19)."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    body = bytearray()
    for arc in (first * 40 + second, *rest):
        septets = [arc & 0x7F]
        while arc := arc >> 7:
            septets.append(arc & 0x7F | 0x80)
        body += bytes(reversed(septets))
    return _der(0x06, bytes(body))


def _der(tag: int, body: bytes) -> bytes:
    """Return one tag-length-value of DER."""
    length = len(body)
    if length < 0x80:
        return bytes([tag, length]) + body
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + body
