"""A headless Chromium, spoken to over the Chrome DevTools Protocol."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from websocket import create_connection

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXECUTABLE = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
    *(
        "--no-first-run",
        "--disable-extensions",
        "--disable-background-networking",
        "--remote-debugging-port=0",
    ),
)


class Tab:
    """One tab; every complaint of the browser about the page is kept in :attr:`complaints`."""

    def __init__(self, address: str) -> None:
        self._socket = create_connection(address, timeout=30, suppress_origin=True)
        self._number = 0
        self.complaints: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            message = self._receive()
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]

    def open(self, url: str) -> None:
        """Navigate and wait until the page is complete."""
        self.send("Page.navigate", url=url)
        while self._receive().get("method") != "Page.loadEventFired":
            pass

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, awaited."""
        found = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def look(self, *, width: int, scheme: str) -> None:
        """Set the width in CSS pixels, and the colour scheme: light or dark."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, path: Path) -> None:
        """Write the whole page as PNG."""
        shot = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._socket.recv())
        if message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
            self.complaints.append(message["params"]["entry"]["text"])
        if message.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(message["params"]["exceptionDetails"]))
        return message


@contextmanager
def chromium(profile: Path) -> Iterator[Tab]:
    """Start Chromium with a profile of its own and give its tab; it ends with the block."""
    assert EXECUTABLE is not None
    command = [EXECUTABLE, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        try:
            yield Tab(_first_tab(process))
        finally:
            process.terminate()


def _first_tab(process: subprocess.Popen[str]) -> str:
    for line in process.stderr or ():
        if "DevTools listening on " in line:
            browser = create_connection(line.split()[-1], timeout=30, suppress_origin=True)
            browser.send(json.dumps({"id": 1, "method": "Target.getTargets"}))
            answer = json.loads(browser.recv())
            page = next(t for t in answer["result"]["targetInfos"] if t["type"] == "page")
            return f"{line.split()[-1].partition('/devtools')[0]}/devtools/page/{page['targetId']}"
    raise AssertionError("Chromium did not start")
