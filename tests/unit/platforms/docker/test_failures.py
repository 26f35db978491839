"""docker-py's own exceptions, with the words of real engines, and the ends of real containers."""

from __future__ import annotations

import pytest
import requests
from confidential_spark.agent.errors import ExitCode
from confidential_spark.core.errors import EnclaveError
from confidential_spark.core.failures import LogWatcher
from confidential_spark.platforms.docker.failures import (
    container_diagnosis,
    docker_failures,
    engine_diagnosis,
    engine_error,
)
from docker.errors import (
    APIError,
    DockerException,
    ImageNotFound,
    InvalidVersion,
    NotFound,
    TLSParameterError,
)
from hypothesis import given
from hypothesis import strategies as st
from urllib3.exceptions import ProtocolError

NO_IMAGE = "No such image: sha256:00"
NO_DEVICE = (
    "error gathering device information while adding custom device "
    '"/dev/sgx/enclave": no such file or directory'
)
POOL = (
    "HTTPSConnectionPool(host='192.0.2.1', port=2376): Max retries exceeded with url: /version (Caused by {})"
)


def refusal(words, kind=APIError):
    return kind("Server Error for http+docker://localhost/v1.41/containers/create", explanation=words)


def refused_at_connect(words):
    return DockerException(f"Error while fetching server API version: {words}")


ERRORS = [
    pytest.param(refusal(NO_IMAGE, ImageNotFound), "image-not-found", False, id="image-absent"),
    pytest.param(refusal("No such container: ea87", NotFound), "container-lost", True, id="removed"),
    pytest.param(refusal(NO_DEVICE), "sgx-device-missing", False, id="device-absent"),
    pytest.param(refusal("no space left on device"), "disk-full", False, id="engine-disk-full"),
    pytest.param(refusal("network nosuchnet not found", NotFound), "docker-refused", False, id="no-network"),
    pytest.param(
        refusal("Minimum memory limit allowed is 6MB"), "docker-refused", False, id="limit-too-small"
    ),
    pytest.param(
        refusal("client version 1.50 is too new. Maximum supported API version is 1.41"),
        "docker-version",
        False,
        id="old-engine",
    ),
    pytest.param(
        InvalidVersion("API versions below 1.24 are no longer supported by this library."),
        "docker-version",
        False,
        id="old-client",
    ),
    pytest.param(
        refused_at_connect("('Connection aborted.', FileNotFoundError(2, 'No such file or directory'))"),
        "docker-unreachable",
        True,
        id="no-socket",
    ),
    pytest.param(
        refused_at_connect("('Connection aborted.', PermissionError(13, 'Permission denied'))"),
        "docker-denied",
        False,
        id="socket-of-another-group",
    ),
    pytest.param(
        refused_at_connect(POOL.format("SSLError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]')")),
        "docker-tls",
        False,
        id="other-ca",
    ),
    pytest.param(TLSParameterError("Path to a certificate must be given."), "docker-tls", False, id="no-pem"),
    pytest.param(requests.exceptions.SSLError(POOL.format("bad")), "docker-tls", False, id="tls-later"),
    pytest.param(
        requests.exceptions.ConnectionError("('Connection aborted.', ConnectionRefusedError(111))"),
        "docker-unreachable",
        True,
        id="refused",
    ),
    pytest.param(requests.exceptions.ReadTimeout("Read timed out."), "docker-unreachable", True, id="hangs"),
    pytest.param(
        requests.exceptions.ChunkedEncodingError("Response ended prematurely"),
        "docker-unreachable",
        True,
        id="died-in-mid-answer",
    ),
    pytest.param(
        ProtocolError("Connection broken: IncompleteRead(0 bytes read)"),
        "docker-unreachable",
        True,
        id="died-in-mid-build",
    ),
    pytest.param(
        ConnectionResetError(104, "Connection reset by peer"), "docker-unreachable", True, id="died-attached"
    ),
]


@pytest.mark.parametrize(("error", "name", "retryable"), ERRORS)
def test_what_docker_py_raises_has_a_name(error, name, retryable):
    with pytest.raises(EnclaveError) as caught, docker_failures():
        raise error

    assert (caught.value.code, caught.value.retryable) == (name, retryable)
    assert caught.value.__cause__ is error
    assert "docs/runbooks/" in str(caught.value)


def test_the_engines_own_words_are_shown():
    assert engine_error(refusal(NO_DEVICE)).got == NO_DEVICE


def test_of_a_long_connection_error_the_cause_is_shown():
    shown = engine_error(requests.exceptions.SSLError(POOL.format("SSLError(1, 'wrong CA')"))).got

    assert shown == "SSLError(1, 'wrong CA'))"


def test_a_defect_in_code_stays_a_defect():
    with pytest.raises(ZeroDivisionError), docker_failures():
        _ = 1 // 0


def ended(code, *, oom=False, said=""):
    return {"Status": "exited", "ExitCode": code, "OOMKilled": oom, "Error": said}


@pytest.mark.parametrize(
    ("state", "lines", "name"),
    [
        pytest.param(ended(137, oom=True), [], "killed-out-of-memory", id="137-by-the-kernel"),
        pytest.param(ended(137), [], "killed-from-outside", id="137-by-somebody"),
        pytest.param(ended(80, oom=True), [], "killed-out-of-memory", id="a-child-was-killed-for-memory"),
        pytest.param(ended(80), [], "spark-failed", id="80"),
        pytest.param(ended(143), [], "terminated", id="143"),
        pytest.param(ended(137), ["java.lang.OutOfMemoryError"], "spark-out-of-memory", id="heap-then-kill"),
        pytest.param(ended(80), ["No space left on device"], "disk-full", id="the-log-knows-better"),
        pytest.param(
            ended(127, said='exec: "/x": stat /x: no such file'), [], "command-not-found", id="no-x"
        ),
        pytest.param(ended(128, said=NO_DEVICE), [], "sgx-device-missing", id="never-started-for-a-device"),
        pytest.param(ended(128, said="unable to find user x"), [], "docker-refused", id="never-started"),
        pytest.param(ended(0, said="unable to find user x"), [], "docker-refused", id="said-with-code-0"),
        pytest.param(ended(1), [], "failure-without-a-name", id="1"),
    ],
)
def test_the_end_of_a_container_has_a_name(state, lines, name):
    watcher = LogWatcher()
    for line in lines:
        watcher.feed(line)

    diagnosis = container_diagnosis(state, watcher)

    assert diagnosis is not None
    assert diagnosis.failure.name == name
    assert diagnosis.exit_code == state["ExitCode"]


def test_a_killed_container_is_not_said_to_be_out_of_memory_when_it_was_not():
    diagnosis = container_diagnosis(ended(137), LogWatcher())

    assert diagnosis is not None
    assert diagnosis.also_seen == ()


def test_a_good_end_is_no_failure():
    watcher = LogWatcher()
    watcher.feed("java.lang.OutOfMemoryError, which the job caught")

    assert container_diagnosis(ended(0), watcher) is None


@pytest.mark.parametrize("code", [code for code in ExitCode if code is not ExitCode.OK])
def test_every_exit_code_of_the_agent_has_a_name(code):
    diagnosis = container_diagnosis(ended(int(code)), LogWatcher())

    assert diagnosis is not None
    assert diagnosis.failure.name != "failure-without-a-name"


@given(st.text(max_size=300))
def test_any_words_of_an_engine_are_an_error_with_a_name(words):
    assert engine_diagnosis(refusal(words)).failure.name != "failure-without-a-name"
