"""The lines of a container's log, as the API gives them with ``timestamps=true``.

Source: Kubernetes 1.34, kubelet `logs.go`: RFC 3339 with nine digits, in the node's own time zone.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

STAMPED = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8})(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2}) ?(.*)")


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
