"""The key that signs enclaves: read, judged, and made where a simulation has none.

Whoever has it can sign another enclave as the same signer. It is in the memory of this process and of the
signing container, for as long as signing takes; nothing here shows more of it than its public half.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from confidential_spark.core.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

KEY_BITS, EXPONENT = 3072, 3
MAX_BYTES = 16_384
HOW_TO = "make one with `openssl genrsa -3 -out FILE 3072`, and `chmod 600 FILE`"


@dataclass(frozen=True)
class SignKey:
    """An RSA-3072 key with exponent 3, the only kind that SGX knows."""

    private: rsa.RSAPrivateKey = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a PEM file that belongs to nobody else.

        :raises ConfigurationError: ``sign-key-missing``, ``sign-key-exposed``, ``sign-key-invalid``.
        """
        try:
            with path.open("rb") as file:
                mode, pem = os.fstat(file.fileno()).st_mode, file.read(MAX_BYTES)
        except OSError as error:
            raise _refused("sign-key-missing", f"{path}: {error.strerror}", "a readable file") from error
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise _refused("sign-key-exposed", f"{path} with mode {stat.S_IMODE(mode):o}", "mode 600 or 400")
        return cls.parse(pem)

    @classmethod
    def parse(cls, pem: bytes) -> Self:
        """Read PEM text.

        :raises ConfigurationError: ``sign-key-invalid``; its message has nothing of the key.
        """
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # Without its cause: a parser's message may quote what it could not parse.
            raise _refused("sign-key-invalid", "no private key in PEM without a password") from None
        if not isinstance(key, rsa.RSAPrivateKey):
            raise _refused("sign-key-invalid", f"a key of type {type(key).__name__}")
        exponent = key.public_key().public_numbers().e
        if (key.key_size, exponent) != (KEY_BITS, EXPONENT):
            raise _refused("sign-key-invalid", f"RSA-{key.key_size} with exponent {exponent}")
        return cls(key)

    @classmethod
    def of_this_machine(cls, path: Path) -> Self:
        """Return the key in a file of the cache, made now if there is none: for simulation only.

        :raises ConfigurationError: as :meth:`read`.
        :raises OSError: the file cannot be written.
        """
        if not path.exists():
            key = cls(rsa.generate_private_key(public_exponent=EXPONENT, key_size=KEY_BITS))
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f".{path.name}.{os.getpid()}")
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(key.pem)
                # Does not replace the key of somebody who was quicker.
                os.link(draft, path)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        return cls.read(path)

    @property
    def pem(self) -> bytes:
        """The key as lines of PEM (PKCS #1), which SGX's signing tool reads."""
        return self.private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())

    @property
    def mrsigner(self) -> str:
        """SHA-256 of the modulus, little-endian: the signer as SGX names it, lower-case hex."""
        modulus = self.private.public_key().public_numbers().n
        return hashlib.sha256(modulus.to_bytes(KEY_BITS // 8, "little")).hexdigest()


def _refused(code: str, got: str, expected: str = "RSA-3072 with exponent 3") -> ConfigurationError:
    return ConfigurationError(
        "The enclave's sign key cannot be used.", code=code, got=got, expected=expected, action=HOW_TO
    )
