"""The status of a pod, from the records of its containers."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.fakes.kubernetes_api.store import timestamp

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fakes.kubernetes_api.processes import Container, Log
    from tests.support.fakes.kubernetes_api.refusals import Json

_FALLBACK_BYTES = 2048  # what FallbackToLogsOnError takes of the log's end
_MESSAGE_BYTES = 4096


@dataclass
class Record:
    """One container of a pod, through all its restarts.

    :param forced_reason: why it was killed from outside, e.g. ``OOMKilled``.
    """

    spec: Json
    state: Json = field(default_factory=lambda: {"waiting": {"reason": "ContainerCreating"}})
    last_state: Json = field(default_factory=dict)
    restarts: int = 0
    process: Container | None = None
    log: Log | None = None
    previous_log: Log | None = None
    root: Path | None = None
    forced_reason: str | None = None
    started_at: str | None = None
    container_id: str = ""

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    @property
    def running(self) -> bool:
        return "running" in self.state

    @property
    def exit_code(self) -> int | None:
        terminated = self.state.get("terminated")
        return None if terminated is None else int(terminated["exitCode"])

    def wait_for(self, reason: str, message: str = "") -> None:
        self.state = {"waiting": {"reason": reason, **({"message": message} if message else {})}}

    def run(self, process: Container) -> None:
        self.previous_log, self.log, self.process = self.log, process.log, process
        self.started_at = timestamp()
        self.container_id = f"containerd://{secrets.token_hex(32)}"
        self.state = {"running": {"startedAt": self.started_at}}

    def end(self, code: int, reason: str | None = None, message: str | None = None) -> None:
        """Write down how it ended; its own termination message is read from its file."""
        reason = reason or self.forced_reason or ("Completed" if code == 0 else "Error")
        terminated: dict[str, Any] = {
            "exitCode": code,
            "reason": reason,
            "startedAt": self.started_at or timestamp(),
            "finishedAt": timestamp(),
            "containerID": self.container_id,
        }
        if text := message or self._termination_message(code):
            terminated["message"] = text
        self.state, self.process, self.forced_reason = {"terminated": terminated}, None, None

    def _termination_message(self, code: int) -> str:
        if self.root is None:
            return ""
        file = self.root / self.spec["terminationMessagePath"].strip("/")
        written = file.read_bytes()[-_MESSAGE_BYTES:] if file.is_file() else b""
        fallback = self.spec["terminationMessagePolicy"] == "FallbackToLogsOnError" and code != 0
        if not written and fallback and self.log:
            written = b"".join(line.text for line in self.log.lines)[-_FALLBACK_BYTES:]
        return written.decode(errors="replace")

    def status(self) -> Json:
        image = self.spec["image"]
        return {
            "name": self.name,
            "image": image,
            "imageID": "" if "waiting" in self.state else image,
            "containerID": self.container_id,
            "ready": self.running,
            "started": self.running,
            "restartCount": self.restarts,
            "state": self.state,
            "lastState": self.last_state,
        }


def pod_status(base: Json, inits: list[Record], records: list[Record], phase: str) -> Json:
    """Return a pod's new status: the one so far, with its containers as they are now."""
    ready = bool(records) and all(record.running for record in records)
    initialized = all(record.exit_code == 0 for record in inits)
    flags = {
        "Initialized": initialized,
        "Ready": ready,
        "ContainersReady": ready,
        "PodScheduled": True,
    }
    status = {
        **base,
        "phase": phase,
        "conditions": conditions(base.get("conditions") or [], flags, phase),
        "containerStatuses": [record.status() for record in records],
    }
    if inits:
        status["initContainerStatuses"] = [record.status() for record in inits]
    return status


def conditions(current: list[Json], flags: dict[str, bool], phase: str) -> list[Json]:
    """Return the conditions with these values; those that do not change keep their time."""
    by_type = {condition["type"]: condition for condition in current}
    for type_, flag in flags.items():
        value = "True" if flag else "False"
        if by_type.get(type_, {}).get("status") != value:
            by_type[type_] = {
                "type": type_,
                "status": value,
                "lastProbeTime": None,
                "lastTransitionTime": timestamp(),
            }
        if not flag and type_ in ("Ready", "ContainersReady"):
            reason = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(phase, "ContainersNotReady")
            by_type[type_] = {**by_type[type_], "reason": reason}
    return list(by_type.values())
