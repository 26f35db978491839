"""Base64 has one accepted spelling per byte string."""

from __future__ import annotations

import base64

import pytest
from confidential_spark.agent.protocol import b64url
from confidential_spark.core import base64url
from hypothesis import given
from hypothesis import strategies as st


@given(st.binary())
def test_round_trip(data):
    assert base64url.decode(b64url(data)) == data
    assert base64url.decode_standard(base64.b64encode(data).decode()) == data


@pytest.mark.parametrize(
    "text",
    [
        "A",
        "AAAAA",
        "AQ==",
        "AQ=",
        "AR",
        "AAF",
        "A Q",
        "AQ\n",
        "\nAQ",
        "+A",
        "/w",
        "AQ.",
        "é",
        "\uff21Q",
        "A\0",
    ],
    ids=repr,
)
def test_other_spellings_of_base64url(text):
    with pytest.raises(ValueError, match="base64url"):
        base64url.decode(text)


@pytest.mark.parametrize(
    "text", ["AQ", "AQ=", "AR==", "AQ==\n", "AQ==AQ==", "-w==", "_w==", "A", "====", "é", "AQ\0="], ids=repr
)
def test_other_spellings_of_base64(text):
    with pytest.raises(ValueError, match="base64"):
        base64url.decode_standard(text)


@given(st.text())
def test_what_is_decoded_was_canonical(text):
    for decode, encode in (
        (base64url.decode, b64url),
        (base64url.decode_standard, lambda d: base64.b64encode(d).decode()),
    ):
        try:
            encoded = encode(decode(text))
        except ValueError:
            encoded = text
        assert encoded == text
