import hashlib
from functools import cache

import pytest
from confidential_spark.core.errors import EnclaveError
from confidential_spark.enclave.container import sigstruct
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

MRENCLAVE = bytes(range(32))


@cache
def sgx_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=3, key_size=3072)


def signed(**changes) -> bytes:
    values = {"mrenclave": MRENCLAVE, "product_id": 7, "svn": 3, "debuggable": False}
    return sigstruct.sign(sgx_key(), **(values | changes))


def patched(data: bytes, offset: int, new: bytes) -> bytes:
    return data[:offset] + new + data[offset + len(new) :]


def test_the_identity_survives_signing_and_parsing():
    modulus = sgx_key().public_key().public_numbers().n

    identity = sigstruct.parse(signed())

    assert identity.mrenclave == MRENCLAVE.hex()
    assert identity.mrsigner == hashlib.sha256(modulus.to_bytes(384, "little")).hexdigest()
    assert (identity.product_id, identity.svn, identity.debuggable) == (7, 3, False)


def test_fields_are_where_the_processor_reads_them():
    """Offsets of Intel's SDM vol. 3D, table "Layout of Enclave Signature Structure"."""
    data = signed()

    assert len(data) == 1808
    assert data[960:992] == MRENCLAVE
    assert int.from_bytes(data[1024:1026], "little") == 7
    assert int.from_bytes(data[1026:1028], "little") == 3
    assert int.from_bytes(data[512:516], "little") == 3  # the exponent


def test_the_quotients_are_what_the_processor_divides_with():
    data = signed()
    modulus, signature, first, second = (
        int.from_bytes(data[offset : offset + 384], "little") for offset in (128, 516, 1040, 1424)
    )

    assert first == signature**2 // modulus
    assert second == (signature**3 - first * signature * modulus) // modulus


@pytest.mark.parametrize(
    ("flags", "mask", "debuggable"),
    [
        pytest.param(0x04, 0xFF, False, id="forbidden"),
        pytest.param(0x06, 0xFF, True, id="required"),
        pytest.param(0x04, 0xFD, True, id="left-to-whoever-starts-it"),
    ],
)
def test_debugging_is_off_only_when_the_signer_forbids_it(monkeypatch, flags, mask, debuggable):
    monkeypatch.setattr(sigstruct, "FLAG_64BIT", flags)
    monkeypatch.setattr(sigstruct, "ALL_FLAGS", mask)

    assert sigstruct.parse(signed()).debuggable is debuggable


def test_a_debug_build_says_so():
    assert sigstruct.parse(signed(debuggable=True)).debuggable is True


@pytest.mark.parametrize(
    ("change", "got"),
    [
        pytest.param(lambda data: data[:-1], "1807 bytes", id="short"),
        pytest.param(lambda data: data + b"\0", "1809 bytes", id="long"),
        pytest.param(lambda data: patched(data, 0, b"\x07"), "other headers", id="first-header"),
        pytest.param(lambda data: patched(data, 24, b"\x02"), "other headers", id="second-header"),
        pytest.param(lambda data: patched(data, 512, b"\x05"), "exponent 5", id="exponent"),
        pytest.param(lambda data: patched(data, 128, bytes(384)), "0 bits", id="no-modulus"),
        pytest.param(lambda data: patched(data, 960, b"\xff"), "does not verify", id="mrenclave"),
        pytest.param(lambda data: patched(data, 1024, b"\x09"), "does not verify", id="product-id"),
        pytest.param(lambda data: patched(data, 1026, b"\x09"), "does not verify", id="svn"),
        pytest.param(lambda data: patched(data, 944, b"\xfd"), "does not verify", id="debug-mask"),
        pytest.param(lambda data: patched(data, 516, bytes(384)), "does not verify", id="signature"),
    ],
)
def test_a_changed_sigstruct_is_refused(change, got):
    with pytest.raises(EnclaveError, match=got) as refused:
        sigstruct.parse(change(signed()))

    assert refused.value.code == "sigstruct-invalid"


@pytest.mark.parametrize(
    ("exponent", "size"),
    [pytest.param(65537, 3072, id="exponent"), pytest.param(3, 2048, id="size")],
)
def test_a_key_that_sgx_cannot_use_is_refused(exponent, size):
    key = rsa.generate_private_key(public_exponent=exponent, key_size=size)

    with pytest.raises(EnclaveError, match=f"RSA-{size} with exponent {exponent}") as refused:
        sigstruct.sign(key, mrenclave=MRENCLAVE, product_id=1, svn=1, debuggable=False)

    assert refused.value.code == "sign-key-invalid"


@given(before=st.binary(max_size=64), after=st.binary(max_size=64))
def test_a_sigstruct_is_found_wherever_it_lies(before, after):
    assert list(sigstruct.find(before + signed() + after)) == [signed()]


@given(data=st.binary(max_size=2000))
def test_any_bytes_are_parsed_or_refused(data):
    candidates = [*sigstruct.find(sigstruct.HEADER + data), data]
    for candidate in candidates:
        with pytest.raises(EnclaveError):
            sigstruct.parse(candidate)


def test_a_header_at_the_very_end_is_no_sigstruct():
    assert list(sigstruct.find(signed()[:-1])) == []
