"""Airflow's own API, called as the user of a request: rights and audit log are Airflow's.

The calls stay within the process and go through the whole application that the pages are mounted in, so that
nothing depends on how this server is reached from outside.
"""

# No postponed annotations here: FastAPI reads them.
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
from airflow.configuration import conf
from fastapi import HTTPException, Request

# As plugin.py calls it, which is above all of this.
AIRFLOW = "confidential_spark.airflow"
CREDENTIALS = ("authorization", "cookie")
# An address for the client, which no network ever sees.
INSIDE = "http://airflow.invalid"


@dataclass(frozen=True)
class Answer:
    """What Airflow's API said.

    :param said: its own words on why not; empty when it did what was asked.
    """

    status: int
    said: str

    @property
    def is_done(self) -> bool:
        """Whether it did what was asked."""
        return self.status < 300


class AirflowApi:
    """Airflow's API with the credentials of a request."""

    def __init__(self, request: Request) -> None:
        """Keep the user's credentials for the time of the request."""
        headers = {name: value for name in CREDENTIALS if (value := request.headers.get(name))}
        transport = httpx.ASGITransport(app=request.scope[AIRFLOW], raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url=INSIDE, headers=headers)

    async def trigger(self, dag_id: str, run_id: str, conf: Mapping[str, Any], note: str) -> Answer:
        """Create a run."""
        body = {"dag_run_id": run_id, "logical_date": None, "conf": dict(conf), "note": note}
        return await self._ask("POST", f"/api/v2/dags/{quote(dag_id, safe='')}/dagRuns", json=body)

    async def delete(self, dag_id: str, run_id: str) -> Answer:
        """Delete a run that has not begun."""
        return await self._ask("DELETE", _run(dag_id, run_id))

    async def fail(self, dag_id: str, run_id: str) -> Answer:
        """Mark a run as failed, which ends its tasks."""
        return await self._ask("PATCH", _run(dag_id, run_id), json={"state": "failed"})

    async def answer(
        self, dag_id: str, run_id: str, task_id: str, option: str, fields: Mapping[str, str]
    ) -> Answer:
        """Answer the question of a task that waits for a person.

        :param fields: the form's fields by name.
        """
        path = f"{_run(dag_id, run_id)}/taskInstances/{quote(task_id, safe='')}/-1/hitlDetails"
        body = {"chosen_options": [option], "params_input": dict(fields)}
        return await self._ask("PATCH", path, json=body)

    async def _ask(self, method: str, path: str, **options: Any) -> Answer:
        answer = await self._client.request(method, path, **options)
        return Answer(answer.status_code, "" if answer.is_success else _said(answer))


def require_own_page(request: Request) -> None:
    """Refuse a request that another site's page has sent with this user's cookie.

    :raises HTTPException: 403.
    """
    origin = urlsplit(request.headers.get("origin", ""))
    base = urlsplit(conf.get("api", "base_url", fallback=""))
    if not origin.netloc or origin.netloc not in {request.headers.get("host", ""), base.netloc}:
        raise HTTPException(
            403,
            "This was not sent by a page of this Airflow, so nothing was done. Behind a proxy, "
            "AIRFLOW__API__BASE_URL has to be the address that browsers use.",
        )


def _run(dag_id: str, run_id: str) -> str:
    return f"/api/v2/dags/{quote(dag_id, safe='')}/dagRuns/{quote(run_id, safe='')}"


def _said(answer: httpx.Response) -> str:
    try:
        detail = answer.json().get("detail")
    except (ValueError, AttributeError):
        detail = None
    return str(detail or answer.reason_phrase)[:500]
