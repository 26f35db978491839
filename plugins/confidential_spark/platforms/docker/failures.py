"""What a Docker engine's refusals, its silence and a container's end mean, as this project's errors.

Every name comes from the failure table, so the log, the page and the runbook use the same one.
Sources: docker-py 7 `docker/errors.py`, the Docker Engine API 1.41 (`State` of a container) and the messages
of real engines, which `tests/docker/test_engine_failures.py` provokes.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from confidential_spark.core.failures import UNNAMED, Diagnosis, LogWatcher

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from confidential_spark.core.errors import EnclaveError

SIGKILL_CODE = 137
OUT_OF_MEMORY = "OOMKilled: the engine saw the kernel end a process of the container for its memory"
NOT_FOR_MEMORY = "[killed-from-outside] SIGKILL, and the engine says: not for the container's memory limit"


@contextmanager
def docker_failures() -> Iterator[None]:
    """Turn what docker-py raises within the block into this project's errors.

    :raises EnclaveError: named by the failure table, retryable where the table says so.
    """
    # Imported late, as everywhere in this wing: DAG files import it, and need no client of an engine.
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    try:
        yield
    except (DockerException, RequestException, *broken_stream()) as error:
        raise engine_error(error) from error


def broken_stream() -> tuple[type[Exception], ...]:
    """Return what a stream of build, pull, push or attach raises when the line to the engine breaks.

    docker-py reads them past requests, which would wrap these.
    """
    from urllib3.exceptions import HTTPError

    return HTTPError, ConnectionError


def engine_error(error: Exception) -> EnclaveError:
    """Return this project's error for what docker-py or requests raised."""
    return engine_diagnosis(error).error()


def engine_diagnosis(error: Exception) -> Diagnosis:
    """Return the row of the failure table that fits what docker-py or requests raised."""
    said = getattr(error, "explanation", None) or str(error)
    watcher = LogWatcher()
    watcher.feed(said)
    diagnosis = watcher.diagnose()
    if diagnosis.failure is not UNNAMED:
        return diagnosis
    return Diagnosis.named(_kind_of(error), said.rpartition("(Caused by ")[2])


def container_diagnosis(state: Mapping[str, Any], watcher: LogWatcher) -> Diagnosis | None:
    """Return why an ended container failed, or None when its program ended with exit code 0.

    :param state: ``State`` of the container as the engine's `inspect` gives it.
    :param watcher: has been fed the container's log.
    """
    code, engine_said = int(state["ExitCode"]), str(state["Error"])
    if code == 0 and not engine_said:
        return None
    if engine_said:
        watcher.feed(engine_said)
    if state["OOMKilled"]:
        watcher.feed(OUT_OF_MEMORY)
    elif code == SIGKILL_CODE:
        watcher.feed(NOT_FOR_MEMORY)
        # The exit code alone would say "out of memory", which the engine has just denied.
        return replace(watcher.diagnose(), exit_code=code)
    diagnosis = watcher.diagnose(code)
    if engine_said and diagnosis.failure is UNNAMED:
        return replace(Diagnosis.named("docker-refused", engine_said), exit_code=code)
    return diagnosis


def _kind_of(error: Exception) -> str:
    """Return the row for an error whose words say nothing, by its type."""
    from docker.errors import APIError, InvalidVersion, TLSParameterError
    from requests.exceptions import RequestException, SSLError

    if isinstance(error, (SSLError, TLSParameterError)):
        return "docker-tls"
    if isinstance(error, InvalidVersion):
        return "docker-version"
    if isinstance(error, (RequestException, *broken_stream())) and not isinstance(error, APIError):
        return "docker-unreachable"
    return "docker-refused"
