"""What a pod's status and its log say, reduced to what a run decides by.

Sources: Kubernetes 1.34, "Pod Lifecycle" and the API reference of `PodStatus`; kubelet `logs.go`: time stamps
are RFC 3339 with nine digits, in the node's own time zone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ENDED_PHASES = frozenset({"Succeeded", "Failed"})
OUT_OF_MEMORY = "OOMKilled"
# The kubelet tries these again for ever.
IMAGE_TROUBLE = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
)
# A registry may be away for a moment; an image that is still not there after this is not coming.
IMAGE_PATIENCE_SECONDS = 120.0
STAMPED = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8})(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2}) ?(.*)")


@dataclass(frozen=True)
class PodState:
    """One look at a pod, with regard to one of its containers.

    :param reason: why the pod as a whole failed, e.g. ``Evicted``, ``DeadlineExceeded``.
    :param waiting: why the container does not run yet, e.g. ``ImagePullBackOff``.
    :param unschedulable: the scheduler's words, where no node fits.
    :param exit_code: None while the container has not ended.
    :param deleted: whether somebody has asked for its end.
    :param age: seconds since it was made, by the API server's clock.
    :param labels: whose it is, as are ``annotations``.
    """

    name: str
    uid: str
    phase: str
    reason: str = ""
    message: str = ""
    waiting: str = ""
    waiting_message: str = ""
    unschedulable: str = ""
    running: bool = False
    exit_code: int | None = None
    ended_reason: str = ""
    ended_message: str = ""
    deleted: bool = False
    age: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, pod: Any, container: str, *, now: datetime | None = None) -> PodState:
        """Read a pod of the API.

        :param now: the API server's time, see :func:`api_time`; this machine's where it is not known, whose
            clock may be off by as much as a pod may take to start.
        """
        status = pod.status
        states = [*(status.init_container_statuses or ()), *(status.container_statuses or ())]
        found = next((each.state for each in states if each.name == container), None)
        waiting = found.waiting if found else None
        ended = found.terminated if found else None
        return cls(
            name=pod.metadata.name,
            uid=pod.metadata.uid,
            phase=status.phase or "",
            reason=status.reason or "",
            message=status.message or "",
            waiting=(waiting.reason or "") if waiting else "",
            waiting_message=(waiting.message or "") if waiting else "",
            unschedulable=_unschedulable(status.conditions or ()),
            running=bool(found and found.running),
            exit_code=ended.exit_code if ended else None,
            ended_reason=(ended.reason or "") if ended else "",
            ended_message=(ended.message or "") if ended else "",
            deleted=pod.metadata.deletion_timestamp is not None,
            age=((now or datetime.now(UTC)) - pod.metadata.creation_timestamp).total_seconds(),
            labels=pod.metadata.labels or {},
            annotations=pod.metadata.annotations or {},
        )

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of the container."""
        return self.exit_code is not None or self.phase in ENDED_PHASES

    @property
    def out_of_memory(self) -> bool:
        """Whether the kernel ended it for its memory."""
        return self.ended_reason == OUT_OF_MEMORY

    @property
    def obstacle(self) -> str:
        """Why it has not started yet, in the cluster's words, or nothing."""
        if self.unschedulable:
            return f"FailedScheduling: {self.unschedulable}"
        if self.waiting and self.waiting not in ("ContainerCreating", "PodInitializing"):
            return f"{self.waiting}: {self.waiting_message}"
        return ""

    def is_overdue(self, start_seconds: float) -> bool:
        """Return whether it should have started by now."""
        patience = (
            min(IMAGE_PATIENCE_SECONDS, start_seconds) if self.waiting in IMAGE_TROUBLE else start_seconds
        )
        return not self.running and not self.ended and self.age > patience

    def words(self) -> Iterator[str]:
        """Yield what the cluster and the container's last lines say of the end."""
        if self.reason:
            yield f"{self.reason}: {self.message}"
        if self.out_of_memory:
            yield f"{OUT_OF_MEMORY}: the kubelet saw the kernel end the container for its memory"
        yield from self.ended_message.splitlines()


def api_time(headers: Mapping[str, str]) -> datetime | None:
    """Return when the API answered, by its own clock: creation times of objects are by that one."""
    try:
        when = parsedate_to_datetime(headers["Date"])
    except (KeyError, ValueError):
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _unschedulable(conditions: Any) -> str:
    for condition in conditions:
        if condition.type == "PodScheduled" and condition.status == "False":
            return str(condition.message or condition.reason or "")
    return ""


def stamped_lines(text: str, *, whole: bool) -> list[tuple[str, str]] | None:
    """Return the lines of a log with their time stamps: in UTC and of one width, so they compare as text.

    A node that has no log puts its reason in the log's place, without a stamp. Such lines are left out; where
    there are no others, None is returned.

    :param whole: whether the last line is, too.
    """
    lines = text.split("\n")
    last = lines.pop()
    if whole and last:
        lines.append(last)
    found = [match for line in lines if (match := STAMPED.fullmatch(line))]
    if lines and not found:
        return None
    return [(_utc(match), match[4]) for match in found]


def _utc(stamp: re.Match[str]) -> str:
    moment, fraction, zone, _ = stamp.groups()
    if zone != "Z":
        moment = datetime.fromisoformat(moment + zone).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{moment}.{(fraction or '.')[1:].ljust(9, '0')}Z"
