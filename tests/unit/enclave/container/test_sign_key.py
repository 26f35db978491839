"""The sign key: the only kind that SGX knows, readable by nobody else, and never in a message."""

from __future__ import annotations

import hashlib
import stat
from multiprocessing import get_context
from pathlib import Path

import pytest
from confidential_spark.core.errors import ConfigurationError
from confidential_spark.enclave.container import sigstruct
from confidential_spark.enclave.container.sign_key import SignKey
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import example, given
from hypothesis import strategies as st


def pem(key, protection=None) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection or NoEncryption())


@pytest.fixture(scope="module")
def key() -> SignKey:
    return SignKey(rsa.generate_private_key(public_exponent=3, key_size=3072))


def key_file(tmp_path, content: bytes, mode: int = 0o600) -> Path:
    path = tmp_path / "sign.pem"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_key_is_read_and_handed_on_as_lines_of_pem(key, tmp_path) -> None:
    read = SignKey.read(key_file(tmp_path, pem(key.private), 0o400))
    assert read.pem.startswith(b"-----BEGIN RSA PRIVATE KEY-----\n")
    assert read.pem.endswith(b"-----END RSA PRIVATE KEY-----\n")
    assert SignKey.parse(read.pem).mrsigner == key.mrsigner


def test_the_signer_is_named_as_sgx_names_it(key) -> None:
    signed = sigstruct.sign(key.private, mrenclave=bytes(32), product_id=1, svn=1, debuggable=False)
    assert sigstruct.parse(signed).mrsigner == key.mrsigner
    modulus = key.private.public_key().public_numbers().n
    assert key.mrsigner == hashlib.sha256(modulus.to_bytes(384, "little")).hexdigest()


@pytest.mark.parametrize(
    ("make", "got"),
    [
        pytest.param(lambda: rsa.generate_private_key(65537, 3072), "exponent 65537", id="exponent"),
        pytest.param(lambda: rsa.generate_private_key(3, 2048), "RSA-2048", id="size"),
        pytest.param(lambda: ec.generate_private_key(ec.SECP256R1()), "type", id="not-rsa"),
    ],
)
def test_another_kind_of_key_is_refused(make, got: str) -> None:
    with pytest.raises(ConfigurationError, match=got) as refusal:
        SignKey.parse(pem(make()))
    assert refusal.value.code == "sign-key-invalid"


def test_a_key_with_a_password_is_refused(key) -> None:
    with pytest.raises(ConfigurationError, match="sign-key-invalid"):
        SignKey.parse(pem(key.private, BestAvailableEncryption(b"x")))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_key_that_others_can_read_is_refused(key, tmp_path, mode: int) -> None:
    with pytest.raises(ConfigurationError, match="sign-key-exposed"):
        SignKey.read(key_file(tmp_path, key.pem, mode))


def test_an_absent_key_is_named(tmp_path) -> None:
    with pytest.raises(ConfigurationError, match="sign-key-missing"):
        SignKey.read(tmp_path / "absent.pem")


@given(st.binary(max_size=200))
@example(b"-----BEGIN RSA PRIVATE KEY-----\nc2VjcmV0LWJ5dGVz\n-----END RSA PRIVATE KEY-----\n")
def test_nothing_of_a_bad_key_is_shown(content: bytes) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        SignKey.parse(content)
    assert refusal.value.code == "sign-key-invalid"
    assert "c2VjcmV0" not in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_the_key_is_not_in_its_representation(key) -> None:
    numbers = key.private.private_numbers()
    assert repr(key) == "SignKey()"
    assert str(numbers.d) not in repr(key)


def made(path: str) -> str:
    return SignKey.of_this_machine(Path(path)).mrsigner


def test_a_machine_gets_one_key_however_many_ask(tmp_path) -> None:
    path = tmp_path / "cache" / "key.pem"
    with get_context("spawn").Pool(2) as pool:
        signers = set(pool.map(made, [str(path)] * 4))
    assert signers == {made(str(path))}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["key.pem"]
