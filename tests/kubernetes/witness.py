"""What a namespace showed while a run went on: every object as it came, and what every pod printed."""

from __future__ import annotations

import base64
import json
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from confidential_spark.enclave import layout
from confidential_spark.platforms.kubernetes.names import NAMESPACE
from kubernetes import client, watch
from kubernetes.client import ApiException
from urllib3.exceptions import HTTPError

if TYPE_CHECKING:
    from types import TracebackType

    from tests.kubernetes.deployment import Deployment

WATCH_SECONDS = 900
KINDS = ("pod", "config_map", "event", "secret")


@dataclass
class Witness:
    """Watches from the block's begin to its end.

    :ivar shown: texts by kind and name: specs, ConfigMaps, events and logs.
    :ivar launches: the launch files in the Secrets, by the Secrets' names.
    """

    deployment: Deployment
    shown: dict[str, str] = field(default_factory=dict)
    launches: dict[str, str] = field(default_factory=dict)
    _watches: list[watch.Watch] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Witness:
        for kind in KINDS:
            self._watches.append(watch.Watch())
            self._begin(self._follow, kind, self._watches[-1])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for each in self._watches:
            each.stop()

    def _begin(self, work: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _follow(self, kind: str, watched: watch.Watch) -> None:
        core = self.deployment.core
        listing = getattr(core, f"list_namespaced_{kind}")
        with suppress(ApiException, HTTPError):
            for event in watched.stream(listing, NAMESPACE, timeout_seconds=WATCH_SECONDS):
                found = client.ApiClient().sanitize_for_serialization(event["object"])
                name = found["metadata"]["name"]
                if kind == "secret":
                    content = (event["object"].data or {}).get(layout.LAUNCH_FILE.name, "")
                    self.launches[name] = base64.b64decode(content).decode()
                    continue
                if kind == "pod" and f"log {name}" not in self.shown and _has_started(found):
                    self.shown[f"log {name}"] = ""
                    self._begin(self._read_log, name)
                key = f"{kind} {name}"
                self.shown[key] = self.shown.get(key, "") + json.dumps(found)

    def _read_log(self, name: str) -> None:
        with suppress(ApiException, HTTPError):
            log = self.deployment.core.read_namespaced_pod_log(
                name, NAMESPACE, follow=True, _preload_content=False
            )
            for chunk in log.stream():
                self.shown[f"log {name}"] += chunk.decode(errors="replace")


def _has_started(pod: dict[str, Any]) -> bool:
    return pod["status"].get("phase") in ("Running", "Succeeded", "Failed")
