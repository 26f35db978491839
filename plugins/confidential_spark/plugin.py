"""The only Airflow plugin of this project: it registers the pages and nothing else.

Every Airflow process executes this file, so it imports nothing heavy: the pages are loaded when somebody
first asks for one.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from airflow.plugins_manager import AirflowPlugin

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import Receive, Scope, Send

URL_PREFIX = "/confidential-spark"
# Where a request finds Airflow's own application, in which this one is mounted.
AIRFLOW = "confidential_spark.airflow"


class LazyApp:
    """An ASGI application that is imported when it is first asked for something."""

    @cached_property
    def app(self) -> FastAPI:
        """The real application."""
        from confidential_spark.ui.app import create_app

        return create_app()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        await self.app({**scope, AIRFLOW: scope.get("app")}, receive, send)


APPS = [{"app": LazyApp(), "url_prefix": URL_PREFIX, "name": "Confidential Spark"}]
VIEWS = [
    {
        "name": "Control room",
        "href": "confidential-spark/room",
        "destination": "nav",
        "nav_top_level": True,
        "icon": "confidential-spark/icon.svg",
        "icon_dark_mode": "confidential-spark/icon-dark.svg",
        "url_route": "control-room",
    },
    {
        "name": "Confidential runs",
        "href": "confidential-spark/",
        "destination": "nav",
        "category": "browse",
        "url_route": "confidential-runs",
    },
    {
        "name": "Enclave report",
        "href": "confidential-spark/runs/{DAG_ID}/{RUN_ID}",
        "destination": "dag_run",
        "url_route": "enclave-report",
    },
]


class ConfidentialSparkPlugin(AirflowPlugin):
    """Pages "Control room" and "Confidential runs" (navigation) and "Enclave report" (tab of a DAG run)."""

    name = "confidential_spark"
    fastapi_apps = APPS
    external_views = VIEWS
