from datetime import UTC, datetime

import pytest
from confidential_spark.agent.protocol import sha256_hex
from confidential_spark.simulation.hardware import certificates
from confidential_spark.simulation.hardware.authority import root_certificate_der, root_certificate_pem
from confidential_spark.verification.policy.root_certificates import DEVELOPMENT_ROOT_SPKI_SHA256, spki_sha256
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.places import ROOT

DAY = datetime(2026, 11, 23, tzinfo=UTC)


def every_certificate() -> list[x509.Certificate]:
    return [
        *certificates.pck_chain(),
        certificates.tcb_signing_chain()[0],
        certificates.token_signing_certificate(),
    ]


def test_the_committed_root_is_the_derived_one():
    committed = ROOT / "include" / "policies" / "roots" / "development-root-ca.pem"

    assert committed.read_text() == root_certificate_pem()
    assert spki_sha256(x509.load_pem_x509_certificate(committed.read_bytes())) == DEVELOPMENT_ROOT_SPKI_SHA256


def test_certificates_are_the_same_bytes_on_every_machine():
    whole = b"".join(certificate.public_bytes(Encoding.DER) for certificate in every_certificate())

    assert sha256_hex(whole) == "6a84cfe034be158ba267aafe3290ccf74c6ea01efc4d469fb106b936c1682182"


@pytest.mark.parametrize("certificate", every_certificate(), ids=lambda c: c.subject.rfc4514_string()[-40:])
def test_every_certificate_says_that_it_is_simulated(certificate: x509.Certificate):
    assert "SIMULATED" in certificate.subject.rfc4514_string()
    assert "Intel" not in certificate.subject.rfc4514_string()
    assert certificate.not_valid_before_utc.year == 2020
    assert certificate.not_valid_after_utc.year == 2049


@pytest.mark.parametrize(
    "chain",
    [
        pytest.param(certificates.pck_chain(), id="pck"),
        pytest.param(certificates.tcb_signing_chain(), id="tcb-signing"),
    ],
)
def test_each_certificate_is_issued_by_the_next(chain: tuple[x509.Certificate, ...]):
    for subject, issuer in zip(chain, (*chain[1:], chain[-1]), strict=True):
        subject.verify_directly_issued_by(issuer)
    assert chain[-1].public_bytes(Encoding.DER) == root_certificate_der()


@pytest.mark.parametrize("revoke", [False, True], ids=["clean", "revoked"])
def test_the_pck_revocation_list_names_the_pck_certificate_on_request(revoke: bool):
    leaf, authority, _ = certificates.pck_chain()

    crl = x509.load_der_x509_crl(certificates.pck_revocation_list(DAY, revoke_pck=revoke))

    assert crl.is_signature_valid(authority.public_key())
    assert (crl.get_revoked_certificate_by_serial_number(leaf.serial_number) is not None) == revoke
    assert (crl.next_update_utc - DAY).days == 30


def test_the_root_revocation_list_is_empty_and_signed_by_the_root():
    crl = x509.load_der_x509_crl(certificates.root_revocation_list(DAY))

    assert crl.is_signature_valid(certificates.root_certificate().public_key())
    assert list(crl) == []
