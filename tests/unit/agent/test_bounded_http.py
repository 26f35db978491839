import itertools
import logging
import socket
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace

import pytest
from confidential_spark.agent import bounded_http
from confidential_spark.agent.bounded_http import BoundedHttp, CallLimits, Failure, HttpError
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes.faulty_service import Fault, FaultyService

LIMITS = CallLimits(
    attempts=3,
    first_delay=0.001,
    max_delay=0.002,
    deadline=120.0,
    connect_timeout=30.0,
    try_timeout=30.0,
    max_answer_bytes=1000,
)
# For those who are never answered: everybody else has time, on a machine with much to do.
IMPATIENT = replace(LIMITS, try_timeout=1.0)
GOOD = Fault(body=b"good")


def call(service: FaultyService, limits: CallLimits = LIMITS) -> bytes:
    return BoundedHttp(service.url, limits).call("GET", "/certs").body


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits that were asked for, none of which takes place."""
    asked: list[float] = []
    monkeypatch.setattr(bounded_http, "time", SimpleNamespace(sleep=asked.append, monotonic=time.monotonic))
    return asked


def test_no_authorities_are_loaded_to_call_the_loopback():
    """It takes 20 ms of a processor, in each task."""
    with FaultyService(GOOD) as service:
        assert BoundedHttp(service.url, LIMITS, trust=pytest.fail).call("GET", "/certs").body == b"good"


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(408), id="408"),
        pytest.param(Fault(429), id="429"),
        pytest.param(Fault(500, b"<html>"), id="500-html"),
        pytest.param(Fault(503, headers={"Retry-After": "0"}), id="503-retry-after"),
        pytest.param(Fault(delay=60.0), id="slow"),
        pytest.param(Fault(raw=b""), id="closed-at-once"),
        pytest.param(Fault(raw=b"\x16\x03\x01garbage\r\n\r\n"), id="no-http"),
        pytest.param(Fault(raw=b"HTTP/1.1 200 OK\r\nContent-Le"), id="closed-in-headers"),
        pytest.param(Fault(body=b"half", announce=100), id="closed-in-body"),
        pytest.param(
            Fault(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf"), id="closed-in-chunk"
        ),
    ],
)
def test_what_may_pass_is_tried_again(fault: Fault):
    with FaultyService(fault, fault, GOOD) as service:
        assert call(service, IMPATIENT if fault.delay else LIMITS) == b"good"
        assert service.wait_for(3) == 3


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        pytest.param(Fault(429), Failure.THROTTLED, id="429"),
        pytest.param(Fault(502), Failure.UNAVAILABLE, id="502"),
        pytest.param(Fault(delay=60.0), Failure.TIMEOUT, id="slow"),
        pytest.param(Fault(raw=b""), Failure.UNREACHABLE, id="closed"),
        pytest.param(Fault(body=b"half", announce=100), Failure.UNREACHABLE, id="closed-in-body"),
    ],
)
def test_what_does_not_pass_is_given_up_after_all_tries(fault: Fault, failure: Failure):
    with FaultyService(*[fault] * 9) as service:
        with pytest.raises(HttpError) as caught:
            call(service, IMPATIENT if fault.delay else LIMITS)
        assert service.wait_for(3) == 3

    assert (caught.value.failure, caught.value.retryable) == (failure, True)


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        pytest.param(Fault(400, b'{"error":{"code":"X","message":"m"}}'), Failure.REFUSED, id="400"),
        pytest.param(Fault(401), Failure.REFUSED, id="401"),
        pytest.param(Fault(204), Failure.GARBAGE, id="204"),
        pytest.param(
            Fault(302, headers={"Location": "https://evil.example/certs"}), Failure.REDIRECTED, id="302"
        ),
        pytest.param(Fault(308, headers={"Location": "http://[::1"}), Failure.REDIRECTED, id="308-malformed"),
        pytest.param(Fault(307), Failure.REDIRECTED, id="307-nowhere"),
        pytest.param(Fault(body=bytes(1001)), Failure.TOO_LARGE, id="too-large"),
        pytest.param(Fault(500, bytes(1001)), Failure.TOO_LARGE, id="too-large-error"),
        pytest.param(Fault(302, bytes(1001)), Failure.TOO_LARGE, id="too-large-redirect"),
    ],
)
def test_what_cannot_pass_is_tried_once(fault: Fault, failure: Failure):
    with FaultyService(fault) as service, pytest.raises(HttpError) as caught:
        call(service)

    assert (caught.value.failure, caught.value.retryable, len(service.requests)) == (failure, False, 1)


def test_an_endless_body_is_left_at_the_limit():
    endless = Fault(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 500_000)

    with (
        FaultyService(endless) as service,
        pytest.raises(HttpError, match="over 10") as caught,
    ):
        call(service)

    assert caught.value.failure == Failure.TOO_LARGE


def test_an_answer_of_exactly_the_limit_is_read():
    with FaultyService(Fault(body=bytes(1000))) as service:
        assert call(service) == bytes(1000)


def test_a_compressed_answer_is_not_unpacked():
    with FaultyService(Fault(body=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})) as service:
        assert call(service) == b"\x1f\x8b"


def test_a_trickling_answer_ends_at_the_deadline():
    limits = CallLimits(attempts=3, deadline=1.0, try_timeout=5.0)

    with FaultyService(Fault(body=bytes(1000), trickle=0.02)) as service:
        with pytest.raises(HttpError) as caught:
            call(service, limits)
        assert service.wait_for(1) == 1

    assert (caught.value.failure, caught.value.retryable) == (Failure.TIMEOUT, True)


def test_no_try_starts_after_the_deadline(monkeypatch: pytest.MonkeyPatch):
    clock = itertools.count(step=4.0)
    hasty = SimpleNamespace(sleep=lambda seconds: None, monotonic=lambda: next(clock))
    monkeypatch.setattr(bounded_http, "time", hasty)

    with FaultyService(*[Fault(503)] * 9) as service, pytest.raises(HttpError) as caught:
        call(service, CallLimits(attempts=9, deadline=30.0, max_answer_bytes=1000))

    assert caught.value.failure == Failure.UNAVAILABLE
    assert 1 < len(service.requests) < 9


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        pytest.param("7", 7, 7, id="seconds"),
        pytest.param("0", 0.25, 0.5, id="zero-seconds"),
        pytest.param("3600", 20, 20, id="capped"),
        pytest.param("9" * 9, 20, 20, id="vast"),
        pytest.param("9" * 5000, 0.25, 0.5, id="absurd"),
        pytest.param("-5", 0.25, 0.5, id="negative"),
        pytest.param("soon", 0.25, 0.5, id="word"),
        pytest.param(timedelta(seconds=10), 5, 10, id="date"),
        pytest.param(timedelta(seconds=-10), 0.25, 0.5, id="past-date"),
        pytest.param(timedelta(days=9), 20, 20, id="far-date"),
        pytest.param("Fri, 31 Dec 9999 23:59:59 -1400", 20, 20, id="beyond-the-last-utc-hour"),
        pytest.param("Fri, 31 Dec 9999 23:59:59 -9999", 0.25, 0.5, id="no-such-offset"),
        pytest.param("Fri, 31 Dec 99999999999999999999 23:59:59 GMT", 0.25, 0.5, id="no-such-year"),
        pytest.param(None, 0.25, 0.5, id="absent"),
    ],
)
def test_retry_after_is_honoured_up_to_a_cap(
    waits: list[float], header: str | timedelta | None, least: float, most: float
):
    if isinstance(header, timedelta):
        header = format_datetime(datetime.now(UTC) + header, usegmt=True)
    headers = {} if header is None else {"Retry-After": header}
    limits = CallLimits(first_delay=0.5, max_delay=20.0)

    with FaultyService(Fault(429, headers=headers), GOOD) as service:
        assert call(service, limits) == b"good"

    (wait,) = waits
    assert least <= wait <= most


DATE_LIKE = st.from_regex(
    r"[A-Z][a-z]{2}, [0-9]{1,3} (Jan|Feb|Dec) [0-9]{1,6} [0-9]{2}:[0-9]{2}:[0-9]{2} ([+-][0-9]{4,6}|GMT)",
    fullmatch=True,
)


@given(DATE_LIKE | st.text(max_size=40))
def test_any_retry_after_is_seconds_or_nothing(header: str):
    seconds = bounded_http._retry_after(header)
    assert seconds is None or 0 <= seconds < float("inf")


def test_waits_grow_and_differ(waits: list[float]):
    limits = CallLimits(attempts=6, first_delay=1.0, max_delay=4.0)

    with FaultyService(*[Fault(503)] * 5, GOOD) as service:
        call(service, limits)

    bounds = [(0.5, 1), (1, 2), (2, 4), (2, 4), (2, 4)]
    assert all(low <= wait <= high for wait, (low, high) in zip(waits, bounds, strict=True))
    assert len(set(waits)) == len(waits)


def test_an_error_says_what_the_service_said_and_its_request_id():
    fault = Fault(
        400, b'{"error":{"code":"InvalidParameter","message":"bad quote"}}', {"x-ms-request-id": "abc-123"}
    )

    with FaultyService(fault) as service, pytest.raises(HttpError) as caught:
        call(service)

    assert caught.value.got == "HTTP 400 (x-ms-request-id abc-123) InvalidParameter: bad quote"


def test_a_redirect_names_the_host_it_leads_to_and_is_not_followed():
    with FaultyService() as other:
        redirect = Fault(307, headers={"Location": f"{other.url}/certs?secret=1"})
        with FaultyService(redirect) as service, pytest.raises(HttpError) as caught:
            call(service)

    assert caught.value.got.startswith("to 127.0.0.1, HTTP 307")
    assert "secret" not in str(caught.value)
    assert other.requests == []


def test_the_request_id_is_logged_and_no_body_is(caplog: pytest.LogCaptureFixture):
    fault = Fault(body=b"top-secret-token", headers={"x-ms-request-id": "abc\x01123"})

    with caplog.at_level(logging.DEBUG), FaultyService(fault) as service:
        BoundedHttp(service.url, LIMITS).call("POST", "/certs", document={"quote": "top-secret-quote"})

    assert "POST /certs: HTTP 200 (x-ms-request-id abc�123)" in caplog.text
    assert "top-secret" not in caplog.text


def test_no_proxy_and_no_netrc_on_loopback(monkeypatch: pytest.MonkeyPatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    with FaultyService(GOOD) as service:
        assert call(service) == b"good"


def test_a_netrc_entry_is_never_sent(monkeypatch: pytest.MonkeyPatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))

    with FaultyService(GOOD) as service:
        call(service)

    assert "authorization" not in service.headers[0]


def test_headers_that_drip_end_with_the_try():
    drip = Fault(raw=b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 2000, trickle=0.02)

    with FaultyService(drip, GOOD) as service:
        assert call(service, CallLimits(attempts=2, first_delay=0.001, try_timeout=1.0)) == b"good"


def test_a_handshake_that_nobody_answers_ends_with_the_try():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(HttpError) as caught:
            BoundedHttp(url, CallLimits(attempts=1, try_timeout=0.3)).call("GET", "/certs")

    assert caught.value.failure is Failure.TIMEOUT


def test_a_connection_that_comes_after_its_time_carries_no_request(monkeypatch: pytest.MonkeyPatch):
    """Time ends while the network still connects: nothing is there yet that could be shut."""
    over = threading.Event()
    connect, fire = socket.create_connection, bounded_http._Guard._fire

    def connect_late(*arguments: object) -> socket.socket:
        assert over.wait(30)
        return connect(*arguments)

    def fire_and_tell(guard: bounded_http._Guard) -> None:
        fire(guard)
        over.set()

    monkeypatch.setattr(socket, "create_connection", connect_late)
    monkeypatch.setattr(bounded_http._Guard, "_fire", fire_and_tell)
    with FaultyService(GOOD) as service, pytest.raises(HttpError) as caught:
        call(service, replace(LIMITS, attempts=1, try_timeout=0.05))

    assert (caught.value.failure, service.requests) == (Failure.TIMEOUT, [])
    assert "the time for this try is over" in caught.value.got


def test_a_service_that_is_not_there_is_unreachable():
    with FaultyService() as service:
        url = service.url

    with pytest.raises(HttpError) as caught:
        BoundedHttp(url, LIMITS).call("GET", "/certs")

    assert (caught.value.failure, caught.value.retryable) == (Failure.UNREACHABLE, True)
