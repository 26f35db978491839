"""SIGSTRUCT: what a signer says about an enclave, 1808 bytes inside the signed enclave.

Source: Intel SDM vol. 3D, "Enclave Signature Structure"; all numbers little-endian, the key's too.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from confidential_spark.core.errors import EnclaveError

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY_BYTES = 384
EXPONENT = 3
HEADER = bytes.fromhex("06000000e10000000000010000000000")
HEADER_2 = bytes.fromhex("01010000600000006000000001000000")
# header, vendor, date, header 2, software-defined, reserved
SIGNED_HEADER = struct.Struct("<16s I I 16s I 84x")
# modulus, exponent, signature
KEY = struct.Struct(f"<{KEY_BYTES}s I {KEY_BYTES}s")
# MISCSELECT and its mask, reserved + family id, attribute flags, XFRM, the masks of both, MRENCLAVE,
# reserved + extended product id, product id, SVN
SIGNED_BODY = struct.Struct("<I I 20x Q Q Q Q 32s 32x H H")
# reserved, and two quotients that spare the processor a division
QUOTIENTS = struct.Struct(f"<12x {KEY_BYTES}s {KEY_BYTES}s")
KEY_OFFSET = SIGNED_HEADER.size
BODY_OFFSET = KEY_OFFSET + KEY.size
SIZE = BODY_OFFSET + SIGNED_BODY.size + QUOTIENTS.size

FLAG_DEBUG, FLAG_64BIT = 0x02, 0x04
XFRM_LEGACY = 0x03
ALL_MISC, ALL_FLAGS = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF


@dataclass(frozen=True)
class SignedIdentity:
    """Who an enclave is, by its signer's word; hashes in lower-case hex.

    :param mrenclave: the measurement of its code and data.
    :param mrsigner: SHA-256 of the signer's modulus.
    :param product_id: the signer's number for the product, 0…65535.
    :param svn: the product's security version, 0…65535.
    :param debuggable: whether a debugger may read the enclave's memory.
    """

    mrenclave: str
    mrsigner: str
    product_id: int
    svn: int
    debuggable: bool


def sign(key: rsa.RSAPrivateKey, *, mrenclave: bytes, product_id: int, svn: int, debuggable: bool) -> bytes:
    """Return the SIGSTRUCT of an enclave.

    :param key: RSA-3072 with exponent 3, the only kind that SGX knows.
    :param mrenclave: 32 bytes.
    :raises EnclaveError: ``sign-key-invalid``.
    """
    modulus = _sgx_modulus(key)
    header = SIGNED_HEADER.pack(HEADER, 0, 0, HEADER_2, 0)
    # Where the mask leaves the debug bit open, whoever starts the enclave may set it.
    flags_mask = ALL_FLAGS & ~FLAG_DEBUG if debuggable else ALL_FLAGS
    attributes = (FLAG_64BIT, XFRM_LEGACY, flags_mask, XFRM_LEGACY)
    body = SIGNED_BODY.pack(0, ALL_MISC, *attributes, mrenclave, product_id, svn)
    signature = int.from_bytes(key.sign(header + body, padding.PKCS1v15(), hashes.SHA256()), "big")
    first, rest = divmod(signature * signature, modulus)
    quotients = QUOTIENTS.pack(_little(first), _little(signature * rest // modulus))
    return header + KEY.pack(_little(modulus), EXPONENT, _little(signature)) + body + quotients


def parse(sigstruct: bytes) -> SignedIdentity:
    """Check the signature, and return the identity that it covers.

    :raises EnclaveError: ``sigstruct-invalid``.
    """
    if len(sigstruct) != SIZE:
        raise _invalid(f"{len(sigstruct)} bytes", f"{SIZE} bytes")
    header, _, _, header_2, _ = SIGNED_HEADER.unpack_from(sigstruct)
    if (header, header_2) != (HEADER, HEADER_2):
        raise _invalid("other headers", "the headers of Intel's SDM")
    modulus, exponent, signature = KEY.unpack_from(sigstruct, KEY_OFFSET)
    signed = sigstruct[:KEY_OFFSET] + sigstruct[BODY_OFFSET : BODY_OFFSET + SIGNED_BODY.size]
    _verify(modulus, exponent, signature, signed)
    _, _, flags, _, flags_mask, _, mrenclave, product_id, svn = SIGNED_BODY.unpack_from(
        sigstruct, BODY_OFFSET
    )
    return SignedIdentity(
        mrenclave=mrenclave.hex(),
        mrsigner=hashlib.sha256(modulus).hexdigest(),
        product_id=product_id,
        svn=svn,
        debuggable=bool(flags & FLAG_DEBUG) or not flags_mask & FLAG_DEBUG,
    )


def find(binary: bytes) -> Iterator[bytes]:
    """Yield what looks like a SIGSTRUCT in a signed enclave: Intel's tool may put several there."""
    position = binary.find(HEADER)
    while position >= 0:
        candidate = binary[position : position + SIZE]
        if len(candidate) == SIZE and candidate[24:40] == HEADER_2:
            yield candidate
        position = binary.find(HEADER, position + 1)


def _verify(modulus: bytes, exponent: int, signature: bytes, signed: bytes) -> None:
    number = int.from_bytes(modulus, "little")
    if exponent != EXPONENT or number.bit_length() != KEY_BYTES * 8:
        raise _invalid(f"{number.bit_length()} bits, exponent {exponent}", "RSA-3072 with exponent 3")
    try:
        rsa.RSAPublicNumbers(exponent, number).public_key().verify(
            signature[::-1], signed, padding.PKCS1v15(), hashes.SHA256()
        )
    except (InvalidSignature, ValueError) as error:
        raise _invalid("a signature that does not verify", "the signer's signature") from error


def _sgx_modulus(key: rsa.RSAPrivateKey) -> int:
    public = key.public_key().public_numbers()
    if (key.key_size, public.e) != (KEY_BYTES * 8, EXPONENT):
        raise EnclaveError(
            "SGX cannot use this sign key.",
            code="sign-key-invalid",
            got=f"RSA-{key.key_size} with exponent {public.e}",
            expected="RSA-3072 with exponent 3",
            action="make one with `openssl genrsa -3 3072`",
        )
    return public.n


def _little(number: int) -> bytes:
    return number.to_bytes(KEY_BYTES, "little")


def _invalid(got: str, expected: str) -> EnclaveError:
    return EnclaveError(
        "The enclave's SIGSTRUCT is not valid.",
        code="sigstruct-invalid",
        got=got,
        expected=expected,
        action="build and sign the enclave again",
    )
