"""What the tasks that start enclave containers have in common: the engine, the output, and the end."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from confidential_spark.operators.base import ConfidentialOperator
from confidential_spark.operators.output import EnclaveOutput
from confidential_spark.platforms.docker.container import EnclaveContainer
from confidential_spark.platforms.docker.enclave import DockerEnclave, connect

if TYPE_CHECKING:
    from airflow.sdk import Context
    from docker.api import APIClient


# Under this XCom key the run's teardown finds what a dead worker has left.
NONCE_KEY = "container_nonce"


class DockerTask(ConfidentialOperator):
    """Base of the operators that run one enclave container at a time."""

    _nonce: str | None = None
    _killed: bool = False

    @cached_property
    def cli(self) -> APIClient:
        """Client of the engine that the deployment's connection names."""
        return connect(self.settings)

    def enclave(self, context: Context, nonce: str) -> DockerEnclave:
        """Return the enclave whose container has this nonce, started or not; a killed task ends it."""
        self._nonce = nonce
        context["ti"].xcom_push(key=NONCE_KEY, value=nonce)
        output = EnclaveOutput(
            log=lambda line: self.log.info("%s", line),
            on_progress=lambda record: self.show_progress(context, record),
        )
        return DockerEnclave(self.cli, nonce, output, stopped=lambda: self._killed)

    def on_kill(self) -> None:
        """End the container at once, for Airflow kills a task a few seconds after asking.

        A client of its own: this is called from a signal handler, in the middle of another request.
        """
        self._killed = True
        if self._nonce is not None:
            EnclaveContainer(connect(self.settings, patience=0), self._nonce, patience=0).remove()
