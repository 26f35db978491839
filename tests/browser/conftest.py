"""The pages in a real browser, served by Airflow's own API server on loopback."""

from __future__ import annotations

import os
import shutil
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import sync_playwright

from tests.unit.ui.conftest import api_server, dag_run, deployment, no_requests, publish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, ConsoleMessage, Error, Page

__all__ = ["api_server", "dag_run", "deployment", "no_requests", "publish"]

# Debian's: playwright's own download is not to be had everywhere.
EXECUTABLE = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)


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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; of a module, because in its thread no other event loop can run meanwhile."""
    if EXECUTABLE is None:
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=FLAGS, chromium_sandbox=False)
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the browser has complained about: errors of scripts, and what the content policy blocked."""
    return []


@pytest.fixture
def visit(
    site: str, browser: Browser, complaints: list[str], tmp_path: Path
) -> Iterator[Callable[..., Page]]:
    """Open one of our pages as a viewer who is logged in to Airflow."""
    with tab_of(browser, site, tmp_path) as page, visitor(site, page, complaints) as visit:
        yield visit


@contextmanager
def tab_of(browser: Browser, site: str, results: Path) -> Iterator[Page]:
    """Give a tab of a viewer, who sees what is published in a folder."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from airflow.plugins_manager import get_fastapi_plugins
    from confidential_spark.ui.app import published
    from confidential_spark.ui.results.published import Published

    (app,) = (entry["app"].app for entry in get_fastapi_plugins()[0] if entry["name"] == "Confidential Spark")
    app.dependency_overrides[published] = lambda: Published(results)
    token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="viewer", role="VIEWER"))
    context = browser.new_context()
    context.add_cookies([{"name": "_token", "value": token, "url": site, "httpOnly": True}])
    try:
        yield context.new_page()
    finally:
        context.close()
        app.dependency_overrides.clear()


@contextmanager
def visitor(site: str, page: Page, complaints: list[str]) -> Iterator[Callable[..., Page]]:
    """Give what opens addresses in a tab and writes down the browser's complaints."""

    def said(message: ConsoleMessage) -> None:
        if message.type == "error":
            complaints.append(message.text)

    def raised(error: Error) -> None:
        complaints.append(str(error))

    def visit(path: str, *, width: int = 1100, scheme: Any = "light") -> Page:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        page.goto(f"{site}{path}")
        return page

    page.on("console", said)
    page.on("pageerror", raised)
    try:
        yield visit
    finally:
        page.remove_listener("console", said)
        page.remove_listener("pageerror", raised)


@pytest.fixture
def keep_screenshot() -> Callable[[Page, str], None]:
    """Keep a picture where CONFIDENTIAL_SPARK_SCREENSHOTS names a folder."""
    folder = os.environ.get("CONFIDENTIAL_SPARK_SCREENSHOTS")

    def keep(page: Page, name: str) -> None:
        if folder:
            page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)

    return keep
