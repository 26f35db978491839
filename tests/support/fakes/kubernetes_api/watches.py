"""Watches: the history of a collection from a version on, as one JSON object a line."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from aiohttp import web

from tests.support.fakes.kubernetes_api.objects import matcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.fakes.kubernetes_api.refusals import Json
    from tests.support.fakes.kubernetes_api.requests import Target
    from tests.support.fakes.kubernetes_api.store import Change, Store

_LONGEST = 3600.0  # seconds, where the client names no limit


class Watches:
    """Serves the watches of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def serve(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Stream changes until the client's time is up."""
        matches = matcher(request.query, target.name)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        try:
            async with asyncio.timeout(float(request.query.get("timeoutSeconds") or _LONGEST)):
                since = request.query.get("resourceVersion", "")
                await self._stream(response, target, since, matches)
        except TimeoutError:
            if request.query.get("allowWatchBookmarks") == "true":
                await _send(response, "BOOKMARK", self._bookmark(target))
        return response

    async def _stream(
        self, response: web.StreamResponse, target: Target, since: str, matches: Callable[[Json], bool]
    ) -> None:
        version = int(since or 0)
        if not version:
            version = self._store.version
            for item in self._store.select(target.resource, target.namespace):
                if matches(item):
                    await _send(response, "ADDED", item)
        while True:
            for change in [each for each in self._store.history if each.version > version]:
                version = change.version
                if change.resource is target.resource and _in_namespace(change, target):
                    await _send_change(response, change, matches)
            if version >= self._store.version or not self._store.history:
                await self._store.changed.wait()

    def _bookmark(self, target: Target) -> Json:
        metadata = {"resourceVersion": str(self._store.version), "creationTimestamp": None}
        return {"kind": target.resource.kind, "apiVersion": target.resource.api_version, "metadata": metadata}


def _in_namespace(change: Change, target: Target) -> bool:
    return target.namespace in ("", change.object["metadata"].get("namespace"))


async def _send_change(response: web.StreamResponse, change: Change, matches: Callable[[Json], bool]) -> None:
    """Send a change as the selector sees it: an object that no longer matches is deleted to the watcher."""
    before = change.before is not None and matches(change.before)
    after = change.type != "DELETED" and matches(change.object)
    if after:
        await _send(response, "MODIFIED" if before else "ADDED", change.object)
    elif before:
        await _send(response, "DELETED", change.object)


async def _send(response: web.StreamResponse, type_: str, item: Json) -> None:
    await response.write(json.dumps({"type": type_, "object": item}).encode() + b"\n")
