"""Policies that must not be used, and what the shipped ones say."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from confidential_spark.core.errors import PolicyError, VerificationError
from confidential_spark.simulation.hardware import authority as development_ca
from confidential_spark.simulation.hardware.keys import token_signing_key
from confidential_spark.simulation.service import tokens as attestation_tokens
from confidential_spark.verification import Policy, load_policy
from confidential_spark.verification.attestation.signing_keys import fingerprint
from confidential_spark.verification.policy.policy import as_policy, parse_policy
from confidential_spark.verification.policy.root_certificates import DEVELOPMENT_ROOT_SPKI_SHA256, read_root
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from tests.support.factories.bundles import POLICY, rsa_key
from tests.support.factories.changes import drop, put
from tests.support.factories.platform_ca import PlatformCa, new_key, self_signed
from tests.support.places import ROOT

POLICIES = ROOT / "include" / "policies"
MEASUREMENT = "ab" * 32


def refusal(policy, **options) -> PolicyError:
    with pytest.raises(PolicyError) as error:
        Policy.from_mapping(policy, **options)
    return error.value


@pytest.mark.parametrize(
    ("change", "field"),
    [
        *(
            pytest.param(drop(path), path.replace("/", "."), id=f"{path}-absent")
            for path in (
                "name",
                "version",
                "trust",
                "attestation",
                "attestation/issuer",
                "identities",
                "identities/mrenclave",
                "identities/mrsigner",
                "identities/product_id",
                "identities/svn",
                "dcap",
                "dcap/roots",
                "dcap/accepted_tcb_statuses",
                "dcap/max_collateral_age",
            )
        ),
        *(
            pytest.param(put(f"{path}unknown", 1), f"{path.replace('/', '.')}unknown", id=f"{path}unknown")
            for path in ("", "attestation/", "identities/", "identities/svn/", "dcap/")
        ),
        *(
            pytest.param(put(path, []), path.replace("/", "."), id=f"{path}-empty")
            for path in (
                "identities/mrenclave/allow",
                "identities/mrsigner/allow",
                "identities/product_id/allow",
                "attestation/token_signing_keys",
                "dcap/roots",
                "dcap/accepted_tcb_statuses",
            )
        ),
        pytest.param(put("name", "No Blanks"), "name", id="name"),
        pytest.param(put("version", "1"), "version", id="version-text"),
        pytest.param(put("version", True), "version", id="version-bool"),
        pytest.param(put("version", 1.0), "version", id="version-float"),
        pytest.param(put("version", 10**5000), "version", id="version-huge"),
        pytest.param(put("version", 2**31 + 1), "version", id="version-over-31-bits"),
        pytest.param(put("identities/svn/minimum", 10**5000), "identities.svn.minimum", id="svn-huge"),
        pytest.param(put("trust", "none"), "trust", id="trust"),
        pytest.param(put("attestation", []), "attestation", id="section-list"),
        pytest.param(put("attestation/issuer", "http://maa.example.com"), "attestation", id="issuer-http"),
        pytest.param(put("attestation/issuer", "https://maa.example.com/"), "attestation", id="issuer-slash"),
        pytest.param(put("attestation/issuer", "https://u@maa.example.com"), "attestation", id="issuer-user"),
        pytest.param(put("attestation/issuer", "https://maa.example.com:0"), "attestation", id="port-0"),
        pytest.param(
            put("attestation/issuer", "https://maa.example.com:65536"), "attestation", id="port-big"
        ),
        pytest.param(put("attestation/issuer", ["https://x"]), "attestation.issuer", id="issuer-list"),
        pytest.param(put("attestation/policy_hash", "x"), "attestation.policy_hash", id="policy-hash"),
        pytest.param(
            put("attestation/token_signing_keys", ["AB" * 32]), "attestation.token_signing_keys.0", id="pin"
        ),
        pytest.param(put("attestation/max_token_lifetime", "9h"), "attestation", id="lifetime-9h"),
        pytest.param(put("attestation/max_token_lifetime", "0s"), "attestation", id="lifetime-zero"),
        pytest.param(
            put("attestation/max_token_lifetime", 8), "attestation.max_token_lifetime", id="lifetime-number"
        ),
        pytest.param(
            put("attestation/max_token_lifetime", "8 h"), "attestation.max_token_lifetime", id="blank"
        ),
        pytest.param(put("attestation/clock_skew", "11m"), "attestation", id="skew-11m"),
        pytest.param(put("attestation/clock_skew", "-1s"), "attestation.clock_skew", id="skew-negative"),
        pytest.param(put("identities/mrenclave/allow", "any"), "identities.mrenclave.allow", id="allow-any"),
        pytest.param(put("identities/mrenclave/allow", "*"), "identities.mrenclave.allow", id="allow-star"),
        pytest.param(put("identities/mrenclave/allow", None), "identities.mrenclave.allow", id="allow-null"),
        pytest.param(
            put("identities/mrenclave/allow", ["*"]), "identities.mrenclave.allow", id="measurement"
        ),
        pytest.param(
            put("identities/mrenclave/allow", [MEASUREMENT.upper()]), "identities.mrenclave.allow", id="upper"
        ),
        pytest.param(put("identities/mrenclave/allow", [[]]), "identities.mrenclave.allow", id="nested-list"),
        pytest.param(
            put("identities/mrenclave/deny", MEASUREMENT), "identities.mrenclave.deny", id="deny-text"
        ),
        pytest.param(
            put("identities/product_id/allow", ["7"]), "identities.product_id.allow.0", id="product"
        ),
        pytest.param(
            put("identities/product_id/allow", [True]), "identities.product_id.allow.0", id="product-bool"
        ),
        pytest.param(
            put("identities/product_id/allow", 7), "identities.product_id.allow", id="product-number"
        ),
        pytest.param(put("identities/svn/minimum", -1), "identities.svn.minimum", id="svn-negative"),
        pytest.param(put("identities/svn/minimum", False), "identities.svn.minimum", id="svn-bool"),
        pytest.param(
            put("dcap/accepted_tcb_statuses", ["Revoked"]),
            "dcap.accepted_tcb_statuses.0",
            id="revoked-is-never",
        ),
        pytest.param(
            put("dcap/accepted_tcb_statuses", "UpToDate"), "dcap.accepted_tcb_statuses", id="status-text"
        ),
        pytest.param(
            put("dcap/accepted_advisories", ["*"]), "dcap.accepted_advisories.0", id="advisory-star"
        ),
        pytest.param(put("dcap/allow_smt", "no"), "dcap.allow_smt", id="flag-text"),
        pytest.param(put("dcap/allow_smt", 0), "dcap.allow_smt", id="flag-number"),
        pytest.param(put("ledger", 7), "ledger", id="ledger-number"),
    ],
)
def test_unusable_policy_names_its_field(change, field):
    error = refusal(change(POLICY), source="x.yaml")
    assert error.code == "policy-invalid"
    assert f"{field}:" in error.message
    assert "x.yaml" in error.message
    assert error.got is not None
    assert error.expected


def test_every_wrong_field_is_named_at_once():
    error = refusal(put("name", 1)(put("version", "x")(POLICY)))
    assert "name:" in error.message
    assert "version:" in error.message


@pytest.mark.parametrize(
    ("change", "got"),
    [
        pytest.param(drop("name"), "no name", id="field-absent"),
        pytest.param(drop("dcap/accepted_tcb_statuses"), "no dcap.accepted_tcb_statuses", id="inner-absent"),
        pytest.param(put("version", 0), "version = 0", id="wrong-value"),
        pytest.param(put("trust", "hardware"), "policy as a whole", id="trust-conflict"),
    ],
)
def test_refusal_shows_the_field_and_not_what_surrounds_it(change, got):
    assert refusal(change(POLICY)).got == got


@pytest.mark.parametrize("policy", [None, 7, "text", [POLICY], []], ids=repr)
def test_what_is_no_mapping_is_no_policy(policy):
    assert refusal(policy).code == "policy-invalid"


@pytest.mark.parametrize(
    "root",
    [
        b"",
        b"x",
        "absent.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
        7,
        None,
        ["x"],
        "/",
    ],
    ids=repr,
)
def test_root_that_cannot_be_read(root, tmp_path):
    assert refusal(put("dcap/roots", [root])(POLICY), base=tmp_path).code == "policy-root-unreadable"


@pytest.mark.parametrize(
    ("certificate", "why"),
    [
        pytest.param(self_signed("A", new_key(), issuer="B"), "not issued and signed by itself", id="cross"),
        pytest.param(self_signed("A", new_key(), ca=False), "not a certificate authority", id="no-ca"),
        pytest.param(self_signed("A", rsa_key()), "not an elliptic-curve key", id="rsa"),
        pytest.param(PlatformCa().ca, "not issued and signed by itself", id="intermediate"),
        pytest.param(PlatformCa().pck, "not issued and signed by itself", id="leaf"),
    ],
)
def test_what_is_no_self_issued_authority_is_no_root(certificate, why):
    error = refusal(put("dcap/roots", [certificate.public_bytes(Encoding.DER)])(POLICY))
    assert error.code == "policy-root-unreadable"
    assert why in error.got


def test_root_with_a_changed_name_is_no_root():
    changed = PlatformCa().root_der.replace(b"Test Root CA", b"Tess Root CA")
    assert refusal(put("dcap/roots", [changed])(POLICY)).code == "policy-root-unreadable"


def test_a_root_is_one_certificate_and_no_kilobytes_more():
    padded = development_ca.root_certificate_pem() + "\n" * 16 * 1024
    assert refusal(put("dcap/roots", [padded])(POLICY)).code == "policy-root-unreadable"


def test_two_certificates_are_not_one_root(tmp_path):
    two = development_ca.root_certificate_pem() * 2
    assert refusal(put("dcap/roots", [two])(POLICY)).code == "policy-root-unreadable"


def hardware(**changes):
    policy = put("attestation/issuer", "https://maa.example.com")(POLICY)
    return put("dcap/roots", [PlatformCa().root_der])(policy) | {"trust": "hardware"} | changes


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("identities/mrenclave/deny", MEASUREMENT),
        ("identities/mrsigner/deny", {MEASUREMENT: 1}),
        ("identities/config_id", {"allow": []}),
        ("identities/config_id", {"allow": ["00" * 63]}),
        ("identities/config_id", {"allow": ["AB" * 64]}),
        ("identities/config_id", {}),
        ("identities/misc_select", {"allow": []}),
        ("identities/misc_select", {"allow": [-1]}),
        ("identities/misc_select", {"allow": [2**32]}),
        ("identities/misc_select", {"allow": [True]}),
        ("identities/misc_select", {"deny": [1]}),
        ("dcap/roots", [7]),
        ("dcap/max_collateral_age", timedelta(days=-1)),
    ],
)
def test_members_of_another_form_make_the_policy_unusable(path, value):
    assert refusal(put(path, value)(POLICY)).code in {"policy-invalid", "policy-root-unreadable"}


def test_plain_values_may_be_what_the_policy_makes_of_them():
    known = read_root(development_ca.root_certificate_der())
    made = put("dcap/roots", [known])(put("attestation/clock_skew", timedelta(seconds=9))(POLICY))
    policy = Policy.from_mapping(made)
    assert (policy.dcap.roots, policy.attestation.clock_skew) == ((known,), timedelta(seconds=9))
    assert (policy.identities.config_id.allow, policy.identities.misc_select.allow) == (("00" * 64,), (0,))


def test_hardware_policy_with_another_root_is_usable():
    assert Policy.from_mapping(hardware()).trust == "hardware"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        pytest.param(
            put("dcap/roots", [development_ca.root_certificate_der()]), "development root", id="root"
        ),
        pytest.param(
            lambda p: put("dcap/roots", [*p["dcap"]["roots"], development_ca.root_certificate_pem()])(p),
            "development root",
            id="root-beside-another",
        ),
        pytest.param(
            put("dcap/roots", [PlatformCa(organization="Simulated Inc").root_der]),
            "development root",
            id="named-so",
        ),
        pytest.param(put("attestation/issuer", attestation_tokens.ISSUER), "simulated issuer", id="issuer"),
        pytest.param(put("attestation/issuer", "http://127.0.0.1:8000"), "simulated issuer", id="loopback"),
        *(
            pytest.param(put("attestation/issuer", f"https://{host}"), "simulated issuer", id=host)
            for host in (
                *("foo.invalid:443", "invalid", "localhost", "localhost:8443", "a.localhost"),
                *("127.0.0.1", "127.1", "0x7f000001", "2130706433", "0.0.0.0", "127.0.0.0x1"),  # noqa: S104
            )
        ),
    ],
)
def test_hardware_policy_never_trusts_the_simulation(change, why):
    error = refusal(change(hardware()))
    assert error.code == "policy-invalid"
    assert why in error.message


@pytest.mark.parametrize("host", ["maa.example.com:443", "invalid.example.com", "x1.attest.azure.net:65535"])
def test_hardware_policy_may_name_any_public_host(host):
    assert Policy.from_mapping(put("attestation/issuer", f"https://{host}")(hardware())).trust == "hardware"


def test_development_root_is_the_simulations():
    assert read_root(development_ca.root_certificate_der()).spki_sha256 == DEVELOPMENT_ROOT_SPKI_SHA256


def test_lists_of_a_policy_cannot_be_changed_afterwards():
    policy = Policy.from_mapping(POLICY)
    assert isinstance(policy.identities.mrenclave.allow, tuple)
    assert isinstance(policy.dcap.accepted_tcb_statuses, tuple)
    with pytest.raises(ValueError, match="frozen"):
        policy.trust = "hardware"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0s", timedelta(0)),
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("8h", timedelta(hours=8)),
        ("30d", timedelta(days=30)),
    ],
)
def test_durations(text, expected):
    policy = Policy.from_mapping(put("dcap/max_collateral_age", text)(POLICY))
    assert policy.dcap.max_collateral_age == expected


@pytest.mark.parametrize(
    "text", ["", "8", "h", "8hh", "1.5h", " 8h", "8h\n", "٨h", "999999d", "08h"], ids=repr
)
def test_what_is_no_duration(text):
    assert refusal(put("dcap/max_collateral_age", text)(POLICY)).code == "policy-invalid"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        pytest.param(b"a: &x 1\nb: *x\n", "anchors", id="alias"),
        pytest.param(b"a: &x [1]\n", "anchors", id="anchor"),
        pytest.param(b"a: !!python/object/apply:os.system [x]\n", "tags", id="python-tag"),
        pytest.param(b"a: !!str 1\n", "tags", id="tag"),
        pytest.param(b"a: 1\na: 2\n", "twice", id="key-twice"),
        pytest.param(b"a: {b: 1, b: 2}\n", "twice", id="nested-key-twice"),
        pytest.param(b"? [a]\n: 1\n", "", id="list-as-key"),
        pytest.param(b"a: [" * 30_000, "", id="deep-flow"),
        pytest.param(b"[" * 60_000, "nested", id="deep-list"),
        pytest.param(b"- " * 30_000, "nested", id="deep-block"),
        pytest.param(b"#" * 70_000, "bytes", id="too-large"),
        pytest.param(b"\xef\xbb\xbfname: x", "byte order mark", id="byte-order-mark"),
        pytest.param(b"\xff\xfe", "", id="not-utf8"),
        pytest.param(b"a: \x00", "", id="nul"),
        pytest.param(b"a: b: c", "", id="syntax"),
        pytest.param(b"a: 0x" + b"f" * 5000, "decimal", id="hexadecimal"),
        pytest.param(b"a: 1" + b":59" * 3000, "decimal", id="sexagesimal"),
        pytest.param(b"a: 1" + b":59" * 3000 + b".5", "", id="sexagesimal-float"),
        pytest.param(b"a: 1:0", "decimal", id="sexagesimal-short"),
        pytest.param(b"a: 0b1", "decimal", id="binary"),
        pytest.param(b"a: 007", "decimal", id="octal"),
        pytest.param(b"a: 1_0", "decimal", id="underscore"),
        pytest.param(b"a: " + b"1" * 5000, "decimal", id="thousands-of-digits"),
        pytest.param(b"--- 1\n--- 2\n", "", id="two-documents"),
    ],
)
def test_yaml_that_is_not_plain_data(data, why):
    with pytest.raises(PolicyError) as error:
        parse_policy(data)
    assert error.value.code == "policy-malformed"
    assert why in error.value.got


@pytest.mark.parametrize("data", [b"", b"7", b"text", b"[]", b"{}", b"~"], ids=repr)
def test_yaml_that_is_no_policy(data):
    with pytest.raises(PolicyError, match="policy-invalid"):
        parse_policy(data)


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_are_a_policy_or_an_error(data):
    with pytest.raises(PolicyError, match="policy-"):
        parse_policy(data)


@pytest.mark.parametrize("path", ["/nowhere.yaml", "/", "\0"], ids=repr)
def test_policy_file_that_cannot_be_read(path):
    with pytest.raises(PolicyError, match="policy-unreadable"):
        load_policy(Path(path))


def test_policy_comes_in_any_form(tmp_path):
    path = POLICIES / "simulation.yaml"
    policy = load_policy(path)
    assert as_policy(policy) is policy
    assert as_policy(str(path)) == as_policy(path) == policy
    assert as_policy(POLICY).name == "test"
    with pytest.raises(PolicyError, match="policy-root-unreadable"):
        as_policy(path.read_bytes())  # its root is a relative path


def test_shipped_simulation_policy_fits_the_simulation():
    policy = load_policy(POLICIES / "simulation.yaml")
    assert policy.trust == "simulated"
    assert policy.attestation.issuer == attestation_tokens.ISSUER
    assert policy.attestation.token_signing_keys == (fingerprint(token_signing_key().public_key()),)
    assert [root.spki_sha256 for root in policy.dcap.roots] == [DEVELOPMENT_ROOT_SPKI_SHA256]
    with pytest.raises(VerificationError, match="ledger-missing"):
        _ = policy.approvals_path


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        pytest.param("simulation", 0, id="a-child-process"),
        pytest.param("simulation-image", 60, id="perhaps-another-machine"),
        pytest.param("production", 60, id="other-machines"),
    ],
)
def test_shipped_policies_tolerate_the_clocks_that_take_part(name: str, seconds: int):
    skew = load_policy(POLICIES / f"{name}.yaml").attestation.clock_skew
    assert skew == timedelta(seconds=seconds)


def test_shipped_production_policy_is_hardware_under_intels_root():
    policy = load_policy(POLICIES / "production.yaml")
    assert policy.trust == "hardware"
    assert [root.spki_sha256 for root in policy.dcap.roots] == [
        "a0af031289f5d5d4132f9186068a7fc13628633ba235777472e29b6b6c67a49e"
    ]
    assert policy.identities.needs_ledger
    assert policy.approvals_path == POLICIES / "approvals.jsonl"
    assert "OutOfDate" not in policy.dcap.accepted_tcb_statuses
