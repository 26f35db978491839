"""`pods/log`: the lines of one container, from some point on, perhaps followed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from aiohttp import web

from tests.support.fakes.kubernetes_api.refusals import bad_request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.fakes.kubernetes_api.kubelet import Kubelet
    from tests.support.fakes.kubernetes_api.pod_status import Record
    from tests.support.fakes.kubernetes_api.processes import Log
    from tests.support.fakes.kubernetes_api.requests import Target


async def serve(request: web.Request, target: Target, kubelet: Kubelet) -> web.StreamResponse:
    """Stream a log.

    :raises Refusal: 400 when the container is not named or has not started, 404 when there is no pod.
    """
    record = container_record(kubelet, target, request.query.get("container", ""))
    log = record.previous_log if _is_true(request.query, "previous") else record.log
    if log is None:
        reason = (record.state.get("waiting") or {}).get("reason", "ContainerCreating")
        message = f'container "{record.name}" in pod "{target.name}" is waiting to start: {reason}'
        raise bad_request(message)
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(request)
    await _write(response, log, request.query)
    return response


def container_record(kubelet: Kubelet, target: Target, name: str) -> Record:
    """Return the record of a container; a pod's only one needs no name.

    :raises Refusal: 400 when it is not clear or not there which one is meant.
    """
    records = kubelet.worker(target.namespace, target.name).records
    if not name and len(records) == 1:
        return next(iter(records.values()))
    if not name:
        choices = " ".join(records)
        raise bad_request(
            f"a container name must be specified for pod {target.name}, choose one of: [{choices}]"
        )
    if name not in records:
        raise bad_request(f"container {name} is not valid for pod {target.name}")
    return records[name]


async def _write(response: web.StreamResponse, log: Log, query: Mapping[str, str]) -> None:
    stamped = _is_true(query, "timestamps")
    left = int(query.get("limitBytes") or 2**62)
    start = _start(log, query)
    if not _is_true(query, "follow"):
        chunk = b"".join(line.stamped() if stamped else line.text for line in log.lines[start:])
        await response.write(chunk[:left])
        return
    async for line in log.follow(start):
        text = (line.stamped() if stamped else line.text)[:left]
        left -= len(text)
        await response.write(text)


def _start(log: Log, query: Mapping[str, str]) -> int:
    """The index of the first line that is asked for."""
    start = 0
    since = _since(query)
    if since is not None:
        start = next((index for index, line in enumerate(log.lines) if line.at >= since), len(log.lines))
    if query.get("tailLines"):
        start = max(start, len(log.lines) - int(query["tailLines"]))
    return start


def _since(query: Mapping[str, str]) -> datetime | None:
    if seconds := query.get("sinceSeconds"):
        if int(seconds) < 1:
            raise bad_request("sinceSeconds: Invalid value: must be greater than 0")
        return datetime.now(UTC) - timedelta(seconds=int(seconds))
    if text := query.get("sinceTime"):
        return datetime.fromisoformat(text)
    return None


def _is_true(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "").lower() in ("1", "true")
