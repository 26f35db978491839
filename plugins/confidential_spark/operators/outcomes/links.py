"""Buttons on a task's page: the report of its run, the runbook for its failure, its container or pod."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Self
from urllib.parse import quote, urlsplit

from airflow.sdk import BaseOperatorLink
from airflow.sdk.configuration import conf

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

PAGES = "confidential-spark"
# XCom of a task whose enclave runs on another machine, pushed as soon as it is there.
PLACE_KEY = "enclave_place"
# Why a task of this process failed, by its id, until Airflow makes its links, right after it has ended.
_CODES: dict[str, str] = {}


def remember_failure(task_id: str, code: str) -> None:
    """Let the link of a task that fails lead to this failure's runbook."""
    _CODES[task_id] = code


def page_address(*parts: str) -> str:
    """Return the address of a page on this Airflow's host, below the path of ``[api] base_url``."""
    below = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")
    return "/".join([below, PAGES, *(quote(part, safe="") for part in parts)])


class EnclaveReportLink(BaseOperatorLink):
    """Leads to the page of the task's run."""

    name = "Enclave report"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the page's address."""
        return page_address("runs", ti_key.dag_id, ti_key.run_id)


class RunbookLink(BaseOperatorLink):
    """Leads to what helps with the task's failure, or to the page about the task when it did not fail."""

    name = "Runbook"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the page's address."""
        return page_address("runbooks", _CODES.pop(operator.task_id, operator.task_id))


class EnclavePlaceLink(BaseOperatorLink):
    """Leads to what the container or pod of the task is called, and how to look at it."""

    name = "Container or pod"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address of the place on the page of the task's run."""
        return f"{page_address('runs', ti_key.dag_id, ti_key.run_id)}#place"


@dataclass(frozen=True)
class EnclavePlace:
    """Where a platform runs the enclave of a task.

    :param kind: ``container`` or ``pod``.
    :param where: which engine or cluster, by Airflow's name for it; never its address.
    :param commands: how to look at it while it is there.
    """

    kind: str
    name: str
    where: str
    commands: tuple[str, ...]

    @classmethod
    def container(cls, container_id: str, conn_id: str) -> Self:
        """Return a container on a Docker engine."""
        short = container_id[:12]
        commands = (f"docker logs --follow {short}", f"docker inspect {short}")
        return cls("container", short, f"the engine of connection {conn_id}", commands)

    @classmethod
    def pod(cls, name: str, namespace: str, selector: str) -> Self:
        """Return Spark's driver on a Kubernetes cluster.

        :param selector: of the driver and its executors.
        """
        kubectl = f"kubectl --namespace {shlex.quote(namespace)}"
        commands = (
            f"{kubectl} logs --follow {shlex.quote(name)}",
            f"{kubectl} describe pod {shlex.quote(name)}",
            f"{kubectl} get pods --selector {shlex.quote(selector)}",
        )
        return cls("pod", name, f"namespace {namespace}", commands)

    def to_xcom(self) -> dict[str, object]:
        """Return it as a small XCom value."""
        return {**asdict(self), "commands": list(self.commands)}


LINKS: tuple[BaseOperatorLink, ...] = (EnclaveReportLink(), RunbookLink())
REMOTE_LINKS = (*LINKS, EnclavePlaceLink())
