import pytest
from confidential_spark.agent.bounded_http import is_loopback
from confidential_spark.core.errors import AttestationServiceError
from confidential_spark.hooks.bounded_http import CallLimits, ServiceClient, service_url
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes.faulty_service import Fault, FaultyService


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://shared.attest.azure.net", "https://shared.attest.azure.net"),
        ("https://shared.attest.azure.net/", "https://shared.attest.azure.net"),
        ("https://pccs.example:8081/sgx/certification/v4/", "https://pccs.example:8081/sgx/certification/v4"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_tls_and_loopback_are_accepted(text: str, url: str):
    assert service_url(text, "attestation") == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "shared.attest.azure.net",
        "http://shared.attest.azure.net",
        "http://127.0.0.1.example.com",
        "http://127.0.0.2",
        "http://localhost.example.com",
        "http://127.0.0.1@example.com",
        "http://example.com#@127.0.0.1",
        "https://user:secret@shared.attest.azure.net",
        "https://shared.attest.azure.net?api-version=1",
        "https://shared.attest.azure.net#a",
        "https://",
        "https://host:99999",
        "https://host:0",
        "https://[::1",
        "https://host\r\nX-Injected: 1",
        "https://ho st",
        "ftp://127.0.0.1",
        "file:///etc/passwd",
        "HTTP://EXAMPLE.COM",
    ],
)
def test_everything_else_is_refused_before_anything_is_sent(text: str):
    with pytest.raises(AttestationServiceError) as caught:
        service_url(text, "collateral")

    assert caught.value.code == "collateral-insecure-url"
    assert not caught.value.retryable
    assert "secret" not in str(caught.value)


@given(st.text(max_size=60) | st.from_regex(r"https?://[a-z0-9.:@\[\]%/?#-]{0,40}", fullmatch=True))
def test_what_is_accepted_is_tls_or_loopback(text: str):
    try:
        url = service_url(text, "attestation")
    except AttestationServiceError:
        return
    assert url.lower().startswith("https://") or is_loopback(url)


@pytest.mark.parametrize(
    ("fault", "code", "retryable"),
    [
        pytest.param(Fault(429), "collateral-throttled", True, id="retryable"),
        pytest.param(Fault(404), "collateral-refused", False, id="final"),
        pytest.param(Fault(307), "collateral-redirected", False, id="redirected"),
    ],
)
def test_failures_become_this_projects_errors(fault: Fault, code: str, retryable: bool):
    with FaultyService(fault) as service, pytest.raises(AttestationServiceError) as caught:
        ServiceClient(service.url, "collateral", CallLimits(attempts=1)).call("GET", "/tcb")

    assert (caught.value.code, caught.value.retryable) == (code, retryable)


def test_the_trust_store_of_requests_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "absent.pem"))

    with pytest.raises(AttestationServiceError, match="unreachable"):
        ServiceClient("https://127.0.0.1:9", "collateral", CallLimits(attempts=1)).call("GET", "/tcb")
