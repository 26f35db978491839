import json
import subprocess
import sys
from datetime import UTC, datetime

import dcap_qvl
import pytest
from confidential_spark.agent.protocol import TRUST_SIMULATED
from confidential_spark.core.errors import ConfigurationError
from confidential_spark.simulation.enclave import quoting_enclave
from confidential_spark.simulation.enclave.software_quote import (
    EnclaveIdentity,
    SoftwareQuote,
    enclave_report,
    quote_length,
)
from confidential_spark.simulation.hardware.authority import collateral, root_certificate_der
from confidential_spark.simulation.hardware.pck_extension import (
    CPU_SVN,
    FMSPC,
    PCE_SVN,
    PLATFORM_INSTANCE_ID,
    PPID,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SECONDS = int(NOW.timestamp())
IDENTITY = EnclaveIdentity(b"e" * 32, b"s" * 32, product_id=7, svn=3)
REPORT_DATA = bytes(range(64))
COLLATERAL = dcap_qvl.QuoteCollateralV3.from_json(json.dumps(collateral(NOW)))
# Header, report, both signatures, both keys and the authentication data; then the PEM chain begins.
BINARY_PART = 48 + 384 + 4 + 64 + 64 + 384 + 64 + 2 + 32

measurements = st.binary(min_size=32, max_size=32)
uint16 = st.integers(0, 0xFFFF)
identities = st.builds(EnclaveIdentity, measurements, measurements, uint16, uint16, st.booleans())


def verify(quote: bytes) -> dcap_qvl.VerifiedReport:
    return dcap_qvl.verify_with_root_ca(quote, COLLATERAL, root_certificate_der(), SECONDS)


def test_a_software_quote_verifies_under_the_development_root():
    report = verify(SoftwareQuote(IDENTITY).quote(REPORT_DATA))

    assert (report.status, report.advisory_ids, report.ppid) == ("UpToDate", [], PPID)


def test_a_software_quote_does_not_verify_under_intels_root():
    with pytest.raises(ValueError, match="Verification failed"):
        dcap_qvl.verify(SoftwareQuote(IDENTITY).quote(REPORT_DATA), COLLATERAL, SECONDS)


def test_a_debug_quote_is_refused_for_that_alone():
    debug = EnclaveIdentity(b"e" * 32, b"s" * 32, product_id=7, svn=3, debug=True)

    with pytest.raises(ValueError, match=r"Debug mode is enabled$"):
        verify(SoftwareQuote(debug).quote(REPORT_DATA))


def test_a_quote_says_that_it_is_simulated():
    quote = SoftwareQuote(IDENTITY).quote(REPORT_DATA)

    assert SoftwareQuote(IDENTITY).trust == TRUST_SIMULATED
    assert dcap_qvl.parse_quote(quote).header.user_data.startswith(b"SIMULATED")
    assert dcap_qvl.parse_quote(quote).fmspc() == FMSPC.hex().upper()


def test_the_processor_is_described_as_an_ice_lake_one():
    parsed = dcap_qvl.parse_quote(SoftwareQuote(IDENTITY).quote(REPORT_DATA))
    extension = parsed.pck_extension()

    assert parsed.ca() == "platform"
    assert (extension.ppid, extension.cpu_svn, extension.pce_svn) == (PPID, CPU_SVN, PCE_SVN)
    assert (extension.sgx_type, extension.platform_instance_id) == (1, PLATFORM_INSTANCE_ID)
    assert extension.get_value("1.2.840.113741.1.13.1.7.1") == b"\xff"


@settings(max_examples=30)
@given(identities, st.binary(min_size=64, max_size=64))
def test_identity_and_report_data_are_in_the_quote(identity: EnclaveIdentity, report_data: bytes):
    quote = SoftwareQuote(identity).quote(report_data)
    report = dcap_qvl.parse_quote(quote).report

    assert (report.mr_enclave, report.mr_signer) == (identity.mrenclave, identity.mrsigner)
    assert report.report_data == report_data
    assert bool(report.attributes[0] & 2) == identity.debug
    assert (enclave_report(quote).identity, enclave_report(quote).report_data) == (identity, report_data)
    assert quote_length(quote) == len(quote)
    assert quote == SoftwareQuote(identity).quote(report_data)


@settings(max_examples=60)
@given(st.integers(0, BINARY_PART - 1), st.integers(0, 7))
def test_any_changed_bit_is_noticed(position: int, bit: int):
    quote = bytearray(SoftwareQuote(IDENTITY).quote(REPORT_DATA))
    quote[position] ^= 1 << bit
    # A changed length is for the caller to notice: dcap-qvl reads what the inner fields say.
    assume(quote_length(bytes(quote)) == len(quote))

    with pytest.raises(ValueError, match=r"failed|Failed|parse"):
        verify(bytes(quote))


@pytest.mark.parametrize("length", [0, 435], ids=["empty", "before-the-length"])
def test_a_short_quote_has_no_length(length: int):
    assert quote_length(SoftwareQuote(IDENTITY).quote(REPORT_DATA)[:length]) == 0


def test_a_short_quote_has_no_report():
    with pytest.raises(ValueError, match="431 bytes"):
        enclave_report(SoftwareQuote(IDENTITY).quote(REPORT_DATA)[:431])


@pytest.mark.parametrize("length", [0, 32, 63, 65], ids=str)
def test_report_data_of_another_length_is_refused(length: int):
    with pytest.raises(ConfigurationError, match=f"got: {length} bytes") as caught:
        SoftwareQuote(IDENTITY).quote(bytes(length))
    assert caught.value.code == "report-data-length"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("mrenclave", b"short", id="short-measurement"),
        pytest.param("mrsigner", "ab" * 32, id="hex-instead-of-bytes"),
        pytest.param("product_id", -1, id="negative"),
        pytest.param("product_id", True, id="boolean"),
        pytest.param("svn", 65536, id="too-large"),
        pytest.param("svn", 1.0, id="float"),
    ],
)
def test_an_impossible_identity_is_refused(field: str, value: object):
    fields = {"mrenclave": b"e" * 32, "mrsigner": b"s" * 32, "product_id": 1, "svn": 1, field: value}

    with pytest.raises(ConfigurationError, match=field) as caught:
        EnclaveIdentity(**fields)
    assert caught.value.code == "enclave-identity-invalid"


def test_the_agent_can_load_it_without_the_verifiers_libraries():
    # The simulated image has the standard library and cryptography only.
    program = (
        "import sys, confidential_spark.simulation.enclave.software_quote\n"
        "heavy = {'dcap_qvl', 'pydantic', 'requests', 'airflow'}\n"
        "print({name.partition('.')[0] for name in sys.modules} & heavy)"
    )

    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert loaded.stdout.strip() == "set()"


def test_the_quoting_enclave_is_not_the_enclave():
    assert quoting_enclave.IDENTITY.mrsigner != IDENTITY.mrsigner
    assert len(quoting_enclave.QE_ID) == 16
