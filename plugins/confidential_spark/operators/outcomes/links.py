"""Buttons on a task's page: the enclave's report of its run, and the runbook for its failure."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from airflow.sdk import BaseOperatorLink
from airflow.sdk.configuration import conf

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

PAGES = "confidential-spark"
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


LINKS = (EnclaveReportLink(), RunbookLink())
