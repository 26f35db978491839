"""JSON that could mean two things, or do harm, is refused."""

from __future__ import annotations

import json

import pytest
from confidential_spark.core.errors import VerificationError
from confidential_spark.verification import strict_json
from confidential_spark.verification.json_object import JsonObject
from confidential_spark.verification.refusals import Refusal
from hypothesis import given
from hypothesis import strategies as st

MALFORMED, DUPLICATE = Refusal.TOKEN_MALFORMED, Refusal.TOKEN_DUPLICATE_KEY


def loads(data, max_bytes=100_000):
    return strict_json.loads(data, what="test", max_bytes=max_bytes, malformed=MALFORMED, duplicate=DUPLICATE)


def code(data, **options):
    with pytest.raises(VerificationError) as refusal:
        loads(data, **options)
    return refusal.value.code


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="open"),
        pytest.param(b"{} {}", id="two"),
        pytest.param(b'{"a":1,}', id="trailing-comma"),
        pytest.param(b"{'a':1}", id="single-quotes"),
        pytest.param(b'{"a":01}', id="leading-zero"),
        pytest.param(b'{"a":NaN}', id="nan"),
        pytest.param(b'{"a":-Infinity}', id="infinity"),
        pytest.param(b'{"a":1e400}', id="float-overflow"),
        pytest.param(b'{"a":' + b"9" * 5000 + b"}", id="huge-integer"),
        pytest.param(b'"\\ud800"', id="lone-surrogate"),
        pytest.param(b'{"\\udc00":1}', id="lone-surrogate-name"),
        pytest.param(b'"\xff"', id="not-utf8"),
        pytest.param(b'"\xed\xa0\x80"', id="surrogate-in-utf8"),
        pytest.param(b'"\xc0\xaf"', id="overlong-utf8"),
        pytest.param(b"\xef\xbb\xbf{}", id="bom"),
        pytest.param("\ufeff{}", id="bom-text"),
        pytest.param("{}".encode("utf-16"), id="utf16"),
        pytest.param(b'"a\nb"', id="raw-newline"),
        pytest.param(b"[" * 17 + b"]" * 17, id="deeper-than-16"),
        pytest.param(b"[" * 50_000, id="deep-and-open"),
        pytest.param(b'{"a":' * 10_000 + b"1" + b"}" * 10_000, id="deep-objects"),
        pytest.param(b"// x\n{}", id="comment"),
    ],
)
def test_malformed(data):
    assert code(data) == "token-malformed"


@pytest.mark.parametrize(
    "data",
    [b'{"a":1,"a":1}', b'{"b":{"a":1,"a":2}}', b'[{"a":1,"\\u0061":2}]'],
    ids=["same-value", "nested", "escaped"],
)
def test_member_named_twice(data):
    assert code(data) == "token-duplicate-key"


def test_bounds():
    assert code(b" " * 11, max_bytes=10) == "input-too-large"
    assert loads(b"[" * 16 + b"]" * 16) is not None
    assert code(b"[" + b"1," * 100_001 + b"1]", max_bytes=10**6) == "token-malformed"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(JSON)
def test_ordinary_json_is_read_as_by_everybody(value):
    assert loads(json.dumps(value).encode()) == value
    assert loads(json.dumps(value, ensure_ascii=False)) == value


@given(st.binary() | st.text())
def test_any_bytes_are_json_or_a_refusal(data):
    try:
        outcome = loads(data)
    except VerificationError as error:
        outcome = error.code
    else:
        outcome = json.loads(data) == outcome
    assert outcome in (True, "token-malformed", "token-duplicate-key")


@pytest.mark.parametrize(
    "value",
    [{"a": float("nan")}, {"a": b""}, {"a": object()}, {(1, 2): 3}, {"a": {1, 2}}],
    ids=["nan", "bytes", "object", "tuple-name", "set"],
)
def test_mapping_that_is_not_json(value):
    with pytest.raises(VerificationError, match="token-malformed"):
        strict_json.dumps(value, what="test", malformed=MALFORMED)


READERS = {
    "text": lambda o: o.text("m"),
    "optional_text": lambda o: o.optional_text("m"),
    "integer": lambda o: o.integer("m"),
    "boolean": lambda o: o.boolean("m"),
    "array": lambda o: o.array("m"),
    "object": lambda o: o.object("m").members,
    "hexadecimal": lambda o: o.hexadecimal("m", 2),
    "base64url": lambda o: o.base64url("m", 8),
    "base64": lambda o: o.base64("m", 8),
}
ACCEPTED = {
    "text": "x",
    "optional_text": None,
    "integer": 0,
    "boolean": False,
    "array": [1],
    "object": {"a": 1},
    "hexadecimal": "00ff",
    "base64url": "AQI",
    "base64": "AQI=",
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("value", [None, True, 0, 1.0, "", "x", [1], {"a": 1}], ids=repr)
def test_members_are_read_by_type_only(name, value):
    object_ = JsonObject("test", {"m": value}, MALFORMED)
    same_kind = type(value) is type(ACCEPTED[name]) and value != ""
    texts = {"text", "optional_text"}
    wanted = same_kind and not (isinstance(value, str) and name not in texts)
    if wanted or (name == "optional_text" and value == "x"):
        assert READERS[name](object_) == value
    else:
        with pytest.raises(VerificationError, match="token-malformed"):
            READERS[name](object_)


@pytest.mark.parametrize("name", READERS)
def test_right_members_are_read(name):
    assert READERS[name](JsonObject("test", {"m": ACCEPTED[name]}, MALFORMED)) in (
        ACCEPTED[name],
        b"\x01\x02",
    )
    with pytest.raises(VerificationError, match="claim-missing"):
        READERS[name](JsonObject("test", {}, MALFORMED, missing=Refusal.CLAIM_MISSING))


def test_unknown_members_are_named():
    with pytest.raises(VerificationError) as refusal:
        JsonObject("test", {"a": 1, "evil": 2}, MALFORMED).only(("a",), optional=("b",))
    assert (refusal.value.got, refusal.value.expected) == ("evil", "only a, b")
