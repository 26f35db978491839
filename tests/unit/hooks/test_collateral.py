import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import dcap_qvl
import pytest
from confidential_spark.core.errors import AttestationServiceError, ConfigurationError
from confidential_spark.hooks import collateral as hook_module
from confidential_spark.hooks.bounded_http import CallLimits
from confidential_spark.hooks.collateral import CollateralHook
from confidential_spark.simulation.enclave.software_quote import EnclaveIdentity, SoftwareQuote
from confidential_spark.simulation.hardware.authority import collateral, root_certificate_der
from confidential_spark.simulation.service import api as attestation_api
from confidential_spark.simulation.service.api import PCCS_PATH, Request
from confidential_spark.simulation.service.server import LoopbackAttestationService
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.fakes.faulty_service import Fault, FaultyService

NOW = datetime.now(UTC)
QUOTE = SoftwareQuote(EnclaveIdentity(b"e" * 32, b"s" * 32, 7, 3)).quote(bytes(64))
LIMITS = CallLimits(attempts=2, first_delay=0.001, max_delay=0.002, try_timeout=2.0)
FETCHES = [
    f"{PCCS_PATH}/pckcrl?ca=platform&encoding=der",
    f"{PCCS_PATH}/tcb?fmspc=53494D554C41",
    f"{PCCS_PATH}/qe/identity?update=standard",
    f"{PCCS_PATH}/rootcacrl",
]


def genuine(fetch: int, **changes: object) -> Fault:
    answer = attestation_api.answer(Request("GET", FETCHES[fetch]), NOW)
    return Fault(**({"body": answer.body, "headers": dict(answer.headers)} | changes))


def with_fault(fetch: int, fault: Fault) -> FaultyService:
    return FaultyService(*[genuine(earlier) for earlier in range(fetch)], fault, now=NOW)


@pytest.mark.parametrize(
    "path", ["", "/", PCCS_PATH, f"{PCCS_PATH}/"], ids=["bare", "slash", "api", "api-slash"]
)
def test_it_fetches_what_dcap_qvl_itself_would(path: str):
    with LoopbackAttestationService(clock=lambda: NOW) as service:
        fetched = CollateralHook(service.url + path).fetch(QUOTE)

        async def fetch() -> dcap_qvl.QuoteCollateralV3:
            return await dcap_qvl.get_collateral(service.url, QUOTE)

        theirs = json.loads(asyncio.run(fetch()).to_json())

    del theirs["pck_certificate_chain"]
    assert fetched == theirs == collateral(NOW)


def test_what_it_fetches_verifies_the_quote():
    with LoopbackAttestationService(clock=lambda: NOW) as service:
        fetched = dcap_qvl.QuoteCollateralV3.from_json(json.dumps(CollateralHook(service.url).fetch(QUOTE)))

    report = dcap_qvl.verify_with_root_ca(QUOTE, fetched, root_certificate_der(), int(NOW.timestamp()))
    assert report.status == "UpToDate"


def test_it_asks_for_the_platform_of_the_quote():
    with FaultyService() as service:
        CollateralHook(service.url).fetch(QUOTE)

    assert sorted(request.target for request in service.requests) == sorted(FETCHES)


@pytest.mark.parametrize(
    ("fetch", "changes"),
    [
        pytest.param(0, {"body": b""}, id="empty-crl"),
        pytest.param(0, {"body": b"<html>"}, id="crl-is-html"),
        pytest.param(0, {"body": b"abcd"}, id="crl-is-other-hex"),
        pytest.param(0, {"headers": {}}, id="crl-without-chain"),
        pytest.param(1, {"body": b"{}"}, id="no-tcb-info"),
        pytest.param(1, {"body": b'{"tcbInfo":[],"signature":"00"}'}, id="tcb-info-no-object"),
        pytest.param(1, {"body": b'{"tcbInfo":{},"signature":"00"}'}, id="short-signature"),
        pytest.param(
            1, {"body": b'{"tcbInfo":{"a":1,"a":2},"signature":"' + b"0" * 128 + b'"}'}, id="repeated"
        ),
        pytest.param(1, {"headers": {}}, id="tcb-info-without-chain"),
        pytest.param(2, {"body": b"\xff"}, id="qe-identity-not-text"),
        pytest.param(2, {"headers": {}}, id="qe-identity-without-chain"),
        pytest.param(3, {"body": b"00"}, id="root-crl-is-other-hex"),
    ],
)
def test_an_answer_of_the_wrong_shape_is_garbage(fetch: int, changes: dict):
    faults = [genuine(0), genuine(1), genuine(2), genuine(3)]
    faults[fetch] = genuine(fetch, **changes)

    with FaultyService(*faults) as service, pytest.raises(AttestationServiceError) as caught:
        CollateralHook(service.url, limits=LIMITS).fetch(QUOTE)

    assert (caught.value.code, caught.value.retryable) == ("collateral-garbage", False)


@pytest.mark.parametrize("fetch", range(4), ids=["pck-crl", "tcb", "qe-identity", "root-crl"])
def test_a_failure_that_may_pass_is_tried_again(fetch: int):
    with with_fault(fetch, Fault(503)) as service:
        assert CollateralHook(service.url, limits=LIMITS).fetch(QUOTE) == collateral(NOW)

    assert len(service.requests) == 5


@pytest.mark.parametrize("fetch", range(4), ids=["pck-crl", "tcb", "qe-identity", "root-crl"])
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        pytest.param(Fault(404), "collateral-refused", id="404"),
        pytest.param(
            Fault(302, headers={"Location": "https://evil.example"}), "collateral-redirected", id="302"
        ),
    ],
)
def test_a_failure_that_cannot_pass_is_final(fetch: int, fault: Fault, code: str):
    with with_fault(fetch, fault) as service, pytest.raises(AttestationServiceError) as caught:
        CollateralHook(service.url, limits=LIMITS).fetch(QUOTE)

    assert (caught.value.code, caught.value.retryable) == (code, False)
    assert len(service.requests) == fetch + 1


@pytest.fixture
def intel(monkeypatch: pytest.MonkeyPatch):
    """Intel's own server of the root's revocation list, for a cache that is not on loopback."""
    crl = Fault(body=bytes.fromhex(collateral(NOW)["root_ca_crl"]))
    with FaultyService(crl) as server:
        monkeypatch.setattr(hook_module, "INTEL_CRL_HOST", server.url)
        monkeypatch.setattr(hook_module, "is_loopback", lambda url: False)
        yield server


def test_a_cache_without_the_root_crl_leaves_it_to_intel(intel: FaultyService):
    with with_fault(3, Fault(404)) as service:
        assert CollateralHook(service.url, limits=LIMITS).fetch(QUOTE) == collateral(NOW)

    assert [request.target for request in intel.requests] == ["/IntelSGXRootCA.der"]


def test_a_failing_cache_does_not_lead_to_intel(intel: FaultyService):
    faults = [genuine(0), genuine(1), genuine(2), Fault(503), Fault(503)]
    with FaultyService(*faults) as service, pytest.raises(AttestationServiceError) as caught:
        CollateralHook(service.url, limits=LIMITS).fetch(QUOTE)

    assert (caught.value.code, intel.requests) == ("collateral-unavailable", [])


def test_plain_http_to_elsewhere_is_refused():
    with pytest.raises(AttestationServiceError) as caught:
        CollateralHook("http://pccs.example:8081")

    assert caught.value.code == "collateral-insecure-url"


@settings(max_examples=60)
@given(st.binary(max_size=500) | st.integers(0, len(QUOTE) - 200).map(lambda end: QUOTE[:end]))
def test_what_is_no_quote_is_refused_before_anything_is_sent(data: bytes):
    with pytest.raises(ConfigurationError) as caught:
        CollateralHook("https://pccs.invalid").fetch(data)

    assert caught.value.code == "collateral-quote-unsupported"


@pytest.mark.shared
def test_the_platform_of_a_real_quote_is_asked_for(attestation_cases: Path):
    quote = (attestation_cases / "quotes" / "automata-prod-icelake-4a095c81.bin").read_bytes()

    with FaultyService() as service, pytest.raises(AttestationServiceError) as caught:
        CollateralHook(service.url, limits=LIMITS).fetch(quote)

    assert caught.value.code == "collateral-refused"
    assert [request.target for request in service.requests] == [
        f"{PCCS_PATH}/pckcrl?ca=platform&encoding=der",
        f"{PCCS_PATH}/tcb?fmspc=00606A000000",
    ]
