"""Quotes byte by byte, and their agreement with the token (steps 7 and 8)."""

from __future__ import annotations

import struct

import pytest
from confidential_spark.agent.protocol import report_data, sha256_hex
from confidential_spark.core.errors import VerificationError
from confidential_spark.simulation.enclave import quoting_enclave
from confidential_spark.simulation.enclave.software_quote import SoftwareQuote
from confidential_spark.simulation.hardware.keys import raw_signature
from confidential_spark.verification.attestation.sgx_quote import ReportBody, SgxQuote
from confidential_spark.verification.refusals import Refusal
from hypothesis import given
from hypothesis import strategies as st

from tests.support.factories.bundles import IDENTITY, make_bundle
from tests.support.factories.changes import drop, flip, put
from tests.support.factories.platform_ca import with_chain

REPORT = 48
QUOTE = SoftwareQuote(IDENTITY).quote(bytes(64))


def length(offset: int, value: int, form: str = "<I"):
    def change(quote: bytes) -> bytes:
        changed = bytearray(quote)
        struct.pack_into(form, changed, offset, value)
        return bytes(changed)

    return change


def with_authentication(quote: bytes, data: bytes) -> bytes:
    signature = quote[436:1012] + struct.pack("<H", len(data)) + data + quote[1046:]
    return quote[:432] + struct.pack("<I", len(signature)) + signature


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param(lambda q: b"", "quote-malformed", id="empty"),
        pytest.param(lambda q: q[:431], "quote-malformed", id="ends-in-report"),
        pytest.param(lambda q: q[:432], "quote-length", id="no-signature-length"),
        pytest.param(lambda q: q[:436], "quote-length", id="no-signature"),
        pytest.param(lambda q: q[:-1], "quote-length", id="one-byte-short"),
        pytest.param(lambda q: q + b"\0", "quote-length", id="one-byte-long"),
        pytest.param(lambda q: q + q, "quote-length", id="twice"),
        pytest.param(length(432, 0), "quote-length", id="signature-length-zero"),
        pytest.param(length(432, 2**32 - 1), "quote-length", id="signature-length-huge"),
        pytest.param(lambda q: length(432, 4)(q[:440]), "quote-malformed", id="signature-of-four-bytes"),
        pytest.param(length(1012, 65535, "<H"), "quote-malformed", id="authentication-data-too-long"),
        pytest.param(length(1012, 0, "<H"), "quote-unsupported", id="authentication-data-shorter"),
        pytest.param(lambda q: with_authentication(q, b""), "quote-unsupported", id="no-authentication-data"),
        pytest.param(
            lambda q: with_authentication(q, b"a" * 33), "quote-unsupported", id="authentication-data-33"
        ),
        pytest.param(length(1048, 1), "quote-malformed", id="certificates-shorter"),
        pytest.param(length(1048, 2**31), "quote-malformed", id="certificates-longer"),
        pytest.param(length(0, 4, "<H"), "quote-unsupported", id="version-4"),
        pytest.param(length(2, 3, "<H"), "quote-unsupported", id="key-type-p384"),
        pytest.param(length(4, 0x81), "quote-unsupported", id="tdx"),
        pytest.param(flip(12), "quote-unsupported", id="vendor"),
        pytest.param(lambda q: with_chain(q, b"PPID", kind=1), "quote-unsupported", id="no-certificates"),
    ],
)
def test_quote_of_another_form_is_refused(change, code):
    with pytest.raises(VerificationError) as refusal:
        SgxQuote.parse(change(QUOTE))
    assert refusal.value.code == code


def test_token_for_a_quote_that_ends_in_its_report_is_refused_when_they_are_compared():
    short = QUOTE[:431]
    bundle = make_bundle(claims=put("x-ms-sgx-collateral/quotehash", sha256_hex(short)))
    failure = bundle.verify_attestation(quote=short).failure
    assert (failure.code, str(failure.number)) == ("quote-malformed", Refusal.QUOTE_MALFORMED.step[0])


@given(st.binary(max_size=2000) | st.builds(lambda tail: QUOTE[:436] + tail, st.binary(max_size=2000)))
def test_any_bytes_are_a_quote_or_a_refusal(data):
    with pytest.raises(VerificationError, match="quote-"):
        SgxQuote.parse(data)


def test_every_field_is_read_at_its_place():
    report = SgxQuote.parse(QUOTE).report
    assert (report.mrenclave, report.mrsigner) == (IDENTITY.mrenclave.hex(), IDENTITY.mrsigner.hex())
    assert (report.product_id, report.svn, report.debuggable) == (7, 3, False)
    body = bytearray(QUOTE[:432])
    body[REPORT + 16 : REPORT + 20] = b"\x01\x02\x00\x00"
    body[REPORT + 32 : REPORT + 48] = b"E" * 16
    body[REPORT + 192 : REPORT + 256] = b"C" * 64
    body[REPORT + 260 : REPORT + 262] = b"\x01\x02"
    body[REPORT + 304 : REPORT + 320] = b"F" * 16
    body[REPORT + 320 : REPORT + 384] = b"D" * 64
    report = ReportBody.from_quote(bytes(body))
    assert report.isv_extended_product_id == b"E" * 16
    assert report.config_id == b"C" * 64
    assert report.config_svn == 0x0201
    assert report.misc_select == 0x0201
    assert report.reserved == bytes(12 + 32 + 32 + 42)
    assert report.isv_family_id == b"F" * 16
    assert report.report_data == b"D" * 64


FLIPS = {
    "version": 0,
    "qe-svn": 8,
    "user-data": 28,
    "cpu-svn": REPORT,
    "debug-attribute": REPORT + 48,
    "mrenclave": REPORT + 64,
    "mrsigner": REPORT + 128,
    "product-id": REPORT + 256,
    "svn": REPORT + 258,
    "report-data": REPORT + 320,
    "report-data-tail": REPORT + 383,
    "signature-length": 432,
    "signature": 436,
    "attestation-key": 500,
    "qe-report": 564,
    "qe-signature": 948,
    "authentication-data": 1014,
    "certificates": 1100,
    "last-byte": -2,
}


@pytest.mark.parametrize("place", FLIPS)
def test_changed_byte_makes_it_another_quote_than_the_tokens(place):
    bundle = make_bundle()
    report = bundle.verify_attestation(quote=flip(FLIPS[place], 2)(bundle.quote))
    assert (report.code, report.failure.number) == ("quote-hash-mismatch", 8)


@pytest.mark.parametrize(
    "change", [lambda q: q + b"\0", lambda q: q[:-1], lambda q: b""], ids=["longer", "shorter", "empty"]
)
def test_quote_of_another_length_is_not_the_tokens(change):
    bundle = make_bundle()
    assert bundle.verify_attestation(quote=change(bundle.quote)).code == "quote-hash-mismatch"


def test_quote_of_another_run_is_not_the_tokens():
    other = make_bundle(nonce=b"o" * 32)
    assert make_bundle().verify_attestation(quote=other.quote).code == "quote-hash-mismatch"


@pytest.mark.parametrize(
    ("claim", "value", "code"),
    [
        pytest.param("x-ms-sgx-collateral", None, "claim-malformed", id="collateral-null"),
        pytest.param("x-ms-sgx-collateral", ["quotehash"], "claim-malformed", id="collateral-list"),
        pytest.param("x-ms-sgx-collateral", {}, "claim-missing", id="quotehash-absent"),
        pytest.param("x-ms-sgx-collateral", {"quotehash": 7}, "claim-malformed", id="quotehash-number"),
        pytest.param("x-ms-sgx-collateral", {"quotehash": "00" * 32}, "quote-hash-mismatch", id="quotehash"),
        pytest.param("x-ms-sgx-config-svn", 1, "claim-quote-mismatch", id="config-svn"),
        pytest.param("x-ms-sgx-config-svn", False, "claim-malformed", id="config-svn-bool"),
        pytest.param("x-ms-sgx-config-id", "11" * 64, "claim-quote-mismatch", id="config-id"),
        pytest.param("x-ms-sgx-isv-family-id", "11" * 16, "claim-quote-mismatch", id="family-id"),
        pytest.param("x-ms-sgx-isv-extended-product-id", [], "claim-quote-mismatch", id="extended-product"),
    ],
)
def test_claim_that_is_not_the_quotes_is_refused(claim, value, code):
    report = make_bundle(claims=put(claim, value)).verify_attestation()
    assert (report.code, report.failure.number) == (code, 8)


@pytest.mark.parametrize(
    ("name", "offset"),
    [("debuggable", 48), ("mrenclave", 70), ("mrsigner", 130), ("product", 256), ("svn", 258), ("data", 330)],
)
def test_provider_that_contradicts_the_quote_is_not_believed(name, offset):
    """The token names exactly this quote, and states what the policy wants to hear."""

    def hashed(claims):
        return put("x-ms-sgx-collateral/quotehash", sha256_hex(forged))(claims)

    genuine = make_bundle()
    forged = flip(REPORT + offset, 2)(genuine.quote)
    report = make_bundle(claims=hashed).verify_attestation(quote=forged)
    assert (report.code, report.failure.number) == ("claim-quote-mismatch", 8)


@pytest.mark.parametrize(
    "change", [length(0, 4, "<H"), length(4, 0x81), flip(12)], ids=["version-4", "tdx", "vendor"]
)
def test_the_header_is_judged_before_any_field(change):
    """Every field is another one in a quote of another kind."""
    forged = flip(REPORT + 70)(change(make_bundle().quote))
    bundle = make_bundle(claims=put("x-ms-sgx-collateral/quotehash", sha256_hex(forged)))
    report = bundle.verify_attestation(quote=forged)
    assert (report.code, report.failure.number) == ("quote-unsupported", 8)


def test_kss_claims_that_fit_are_accepted():
    claims = {
        "x-ms-sgx-config-id": "00" * 64,
        "x-ms-sgx-config-svn": 0,
        "x-ms-sgx-isv-family-id": "00" * 16,
        "x-ms-sgx-isv-extended-product-id": "00" * 16,
    }
    assert make_bundle(claims=lambda c: c | claims).verify_attestation().passed


def quoted_with(offset: int, data: bytes):
    """A quote of the genuine quoting enclave over a report with other bytes."""

    def quote(identity, report_data):
        signed = bytearray(SoftwareQuote(identity).quote(report_data))
        signed[REPORT + offset : REPORT + offset + len(data)] = data
        signed[436:500] = raw_signature(quoting_enclave.attestation_key(), bytes(signed[:432]))
        return bytes(signed)

    return quote


NAMED = {"config_id": {"allow": ["11" * 64]}, "misc_select": {"allow": [0, 1]}}


def named(**members):
    return lambda policy: policy | {"identities": policy["identities"] | members}


@pytest.mark.parametrize(
    ("offset", "data", "members", "code"),
    [
        pytest.param(48, b"\x04", {}, "attributes-not-allowed", id="not-initialised"),
        pytest.param(48, b"\x01", {}, "attributes-not-allowed", id="32-bit"),
        pytest.param(48, b"\x15", {}, "attributes-not-allowed", id="provisioning-key"),
        pytest.param(48, b"\x25", {}, "attributes-not-allowed", id="launch-key"),
        pytest.param(48, b"\x0d", {}, "attributes-not-allowed", id="reserved-bit-3"),
        pytest.param(49, b"\x01", {}, "attributes-not-allowed", id="reserved-bit-8"),
        pytest.param(55, b"\x80", {}, "attributes-not-allowed", id="reserved-bit-63"),
        pytest.param(48, b"\xc5\x04", {}, None, id="cet-kss-aexnotify"),
        pytest.param(20, b"\x01", {}, "attributes-not-allowed", id="reserved-bytes-1"),
        pytest.param(127, b"\x01", {}, "attributes-not-allowed", id="reserved-bytes-2"),
        pytest.param(160, b"\x01", {}, "attributes-not-allowed", id="reserved-bytes-3"),
        pytest.param(303, b"\x01", {}, "attributes-not-allowed", id="reserved-bytes-4"),
        pytest.param(192, b"\x11" * 64, {}, "config-id-not-allowed", id="config-id"),
        pytest.param(192, b"\x11" * 64, NAMED, None, id="config-id-named"),
        pytest.param(0, b"\x0e", NAMED, "config-id-not-allowed", id="config-id-zero-not-named"),
        pytest.param(260, b"\x01", {}, "config-id-not-allowed", id="config-svn-without-config-id"),
        pytest.param(16, b"\x01", {}, "misc-select-not-allowed", id="misc-select"),
        pytest.param(16, b"\x01", {"misc_select": {"allow": [1]}}, None, id="misc-select-named"),
        pytest.param(
            16, b"\x02", {"misc_select": {"allow": [1]}}, "misc-select-not-allowed", id="misc-select-other"
        ),
    ],
)
def test_attributes_and_configuration_are_judged(offset, data, members, code):
    bundle = make_bundle(quote_with=quoted_with(offset, data), policy=named(**members))
    report = bundle.verify_attestation()
    assert (report.code, report.failure and report.failure.number) == (code, code and 9), report.text()


def test_the_wrong_attributes_are_named():
    failure = make_bundle(quote_with=quoted_with(48, b"\x34")).verify_attestation().failure
    assert failure.got == "flags 0x34: INIT, PROVISION_KEY, EINITTOKEN_KEY"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param({"claims": drop("x-ms-sgx-ehd")}, "claim-missing", id="ehd-only-by-alias"),
        pytest.param({"claims": put("x-ms-sgx-ehd", "AA")}, "ehd-mismatch", id="ehd-other"),
        pytest.param({"claims": put("x-ms-sgx-ehd", "")}, "claim-malformed", id="ehd-empty"),
        pytest.param({"claims": put("x-ms-sgx-ehd", ["AA"])}, "claim-malformed", id="ehd-list"),
        pytest.param(
            {"claims": lambda c: c | {"x-ms-sgx-ehd": c["x-ms-sgx-ehd"] + "="}},
            "claim-malformed",
            id="ehd-padded",
        ),
        pytest.param({"claims": drop("x-ms-sgx-report-data")}, "claim-missing", id="report-data-absent"),
        pytest.param({"claims": put("x-ms-sgx-report-data", "00" * 64)}, "report-data-mismatch", id="zeros"),
        pytest.param({"claims": put("x-ms-sgx-report-data", "00" * 32)}, "claim-malformed", id="32-bytes"),
        pytest.param({"report_data": flip(0)}, "report-data-mismatch", id="quote-binds-something-else"),
        pytest.param({"report_data": flip(63)}, "report-data-mismatch", id="tail-is-not-zero"),
        pytest.param({"report_data": lambda d: d[32:] + d[:32]}, "report-data-mismatch", id="halves-swapped"),
    ],
)
def test_token_that_is_not_bound_to_the_runtime_data_is_refused(change, code):
    report = make_bundle(**change).verify_attestation()
    assert (report.code, report.failure.number) == (code, 7)


@pytest.mark.parametrize(
    "change",
    [lambda d: d + b" ", lambda d: d.replace(b"nytaxi", b"nytaxj"), lambda d: b"", lambda d: d[:-1]],
    ids=["blank", "changed", "empty", "shorter"],
)
def test_changed_runtime_data_are_not_the_tokens(change):
    bundle = make_bundle()
    report = bundle.verify_attestation(runtime_data=change(bundle.runtime_data))
    assert (report.code, report.failure.number) == ("ehd-mismatch", 7)


def test_binding_is_the_protocols():
    bundle = make_bundle()
    assert ReportBody.from_quote(bundle.quote).report_data == report_data(bundle.runtime_data)
