"""What the tasks that start pods have in common: the cluster, the output, and the end."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from confidential_spark.core.errors import EnclaveError
from confidential_spark.operators.base import ConfidentialOperator
from confidential_spark.operators.output import EnclaveOutput
from confidential_spark.platforms.kubernetes.cluster import Cluster
from confidential_spark.platforms.kubernetes.enclave import KubernetesEnclave, connect
from confidential_spark.platforms.kubernetes.names import TryNames

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from airflow.sdk import Context


class KubernetesTask(ConfidentialOperator):
    """Base of the operators that run the pods of one try at a time."""

    _nonce: str | None = None
    _ending: Cluster | None = None
    _killed: bool = False

    @cached_property
    def cluster(self) -> Cluster:
        """The namespace of the deployment's pods."""
        return connect(self.settings, stopped=lambda: self._killed)

    def enclave(self, context: Context, nonce: str) -> KubernetesEnclave:
        """Return the pods of the try with this nonce, started or not; a killed task ends them."""
        self._nonce = nonce
        # Made now: looking a connection up in a signal handler could wait for the very task it interrupted.
        client = connect(self.settings).client
        self._ending = Cluster(lambda: client, self.settings.aks_namespace, patience=0)

        def show(record: Mapping[str, Any]) -> None:
            self.show_progress(context, record)

        return KubernetesEnclave(
            self.cluster,
            TryNames.of(self.job.name, nonce),
            nonce,
            EnclaveOutput(log=lambda line: self.log.info("%s", line), on_progress=show),
            stopped=lambda: self._killed,
            start_seconds=self.settings.aks_start_minutes * 60,
        )

    def on_kill(self) -> None:
        """Ask for the pods' end at once, for Airflow kills a task a few seconds after asking.

        A client of its own: this is called from a signal handler, in the middle of another request.
        """
        self._killed = True
        if self._nonce is not None and self._ending is not None:
            names = TryNames.of(self.job.name, self._nonce)
            for pod in (names.driver, names.attest, names.measure, names.transfer):
                try:
                    self._ending.delete_pod(pod)
                except EnclaveError as error:
                    self.log.warning("Pod %s is not removed; the run's teardown tries again: %s", pod, error)
