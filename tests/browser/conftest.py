"""The pages in a real browser, served by Airflow's own API server on loopback."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.chromium import EXECUTABLE, chromium
from tests.unit.ui.conftest import api_server, dag_run, publish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.browser.chromium import Tab

__all__ = ["api_server", "dag_run", "publish"]


@pytest.fixture(scope="session")
def site(api_server: Any) -> Iterator[str]:
    """The address of a running server."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(api_server, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="session")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    if EXECUTABLE is None:
        pytest.skip("no Chromium on this machine")
    with chromium(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.fixture
def visit(site: str, tab: Tab, tmp_path: Path) -> Iterator[Callable[..., Tab]]:
    """Open one of our pages as a viewer who is logged in to Airflow."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from airflow.plugins_manager import get_fastapi_plugins
    from confidential_spark.ui.app import published
    from confidential_spark.ui.published import Published

    (app,) = (entry["app"].app for entry in get_fastapi_plugins()[0] if entry["name"] == "Confidential Spark")
    app.dependency_overrides[published] = lambda: Published(tmp_path)
    token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="viewer", role="VIEWER"))
    tab.send("Network.setCookie", name="_token", value=token, url=site, httpOnly=True)
    tab.complaints.clear()

    def visit(path: str, *, width: int = 1100, scheme: str = "light") -> Tab:
        tab.look(width=width, scheme=scheme)
        tab.open(f"{site}{path}")
        return tab

    yield visit
    app.dependency_overrides.clear()


@pytest.fixture
def keep_screenshot() -> Callable[[Tab, str], None]:
    """Keep a picture where CONFIDENTIAL_SPARK_SCREENSHOTS names a folder."""
    folder = os.environ.get("CONFIDENTIAL_SPARK_SCREENSHOTS")

    def keep(tab: Tab, name: str) -> None:
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            tab.screenshot(Path(folder) / f"{name}.png")

    return keep
