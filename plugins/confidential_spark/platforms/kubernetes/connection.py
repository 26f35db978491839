"""The client of an Airflow connection to Kubernetes; every client of this project is made here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
from airflow.sdk.exceptions import AirflowException
from kubernetes.config.config_exception import ConfigException
from yaml import YAMLError

from confidential_spark.core.errors import ConfigurationError

if TYPE_CHECKING:
    from kubernetes.client import CoreV1Api

# What the provider and kubernetes-client raise over a connection or its files; Airflow's own API that is away
# raises none of them, and may be back at the next try.
UNUSABLE = (AirflowException, ConfigException, YAMLError, OSError, ValueError, TypeError, AttributeError)


def kubernetes_client(conn_id: str) -> CoreV1Api:
    """Return a new client; it reads the connection and its files, and asks the API nothing.

    :raises ConfigurationError: ``kubernetes-connection-invalid``.
    """
    try:
        return KubernetesHook(conn_id=conn_id).core_v1_client
    except UNUSABLE as error:
        raise ConfigurationError(
            "The Kubernetes connection is not usable.",
            code="kubernetes-connection-invalid",
            got=f"{type(error).__name__}: {error}",
            expected="a kubeconfig that this machine can read, or Airflow in a pod",
            action=f"correct the Airflow connection {conn_id}; docs/aks.md has an example",
        ) from error
