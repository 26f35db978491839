import math

import pytest
from confidential_spark.simulation.hardware.keys import (
    P256_ORDER,
    RSA_EXPONENT,
    TOKEN_PRIME_LABELS,
    TOKEN_PRIME_OFFSETS,
    p256_key,
    prime_start,
    raw_signature,
    token_signing_key,
)
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

SMALL_PRIMES = [n for n in range(3, 2000, 2) if all(n % d for d in range(3, math.isqrt(n) + 1, 2))]


def is_probable_prime(number: int) -> bool:
    if any(number % prime == 0 for prime in SMALL_PRIMES):
        return False
    return all(pow(base, number - 1, number) == 1 for base in (2, 3, 5, 7))


@pytest.mark.parametrize(
    ("label", "offset"),
    list(zip(TOKEN_PRIME_LABELS, TOKEN_PRIME_OFFSETS, strict=True)),
    ids=["p", "q"],
)
def test_the_committed_offset_is_the_first_usable_prime(label: str, offset: int):
    start = prime_start(label)

    usable = (
        step
        for step in range(0, offset + 2, 2)
        if is_probable_prime(start + step) and math.gcd(start + step - 1, RSA_EXPONENT) == 1
    )

    assert next(usable, None) == offset


def test_the_token_key_is_consistent_by_openssls_own_judgement():
    key = token_signing_key()

    checked = key.private_numbers().private_key(unsafe_skip_rsa_key_validation=False)

    assert checked.key_size == 2048
    assert checked.public_key() == key.public_key()


@settings(max_examples=20)
@given(st.text(max_size=20), st.text(max_size=20))
def test_p256_keys_follow_from_their_names(one: str, other: str):
    scalar = p256_key(one).private_numbers().private_value

    assert 0 < scalar < P256_ORDER
    assert (scalar == p256_key(other).private_numbers().private_value) == (one == other)


@settings(max_examples=20)
@given(st.binary(max_size=200))
def test_raw_signatures_are_r_and_s_and_repeatable(message: bytes):
    key = p256_key("a test")

    signature = raw_signature(key, message)

    assert signature == raw_signature(key, message)
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    key.public_key().verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
