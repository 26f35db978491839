"""The HTTP side: one route for everything, authentication, faults, authorisation, then the verb."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import yaml
from aiohttp import web

from tests.support.fakes.kubernetes_api import container_logs, requests, resources
from tests.support.fakes.kubernetes_api.refusals import Refusal, bad_request
from tests.support.fakes.kubernetes_api.resources import ACCESS_REVIEWS

if TYPE_CHECKING:
    import ssl

    from tests.support.fakes.kubernetes_api.faults import Faults
    from tests.support.fakes.kubernetes_api.kubelet import Kubelet
    from tests.support.fakes.kubernetes_api.objects import Objects
    from tests.support.fakes.kubernetes_api.rbac import Authorizer
    from tests.support.fakes.kubernetes_api.refusals import Json
    from tests.support.fakes.kubernetes_api.requests import Target
    from tests.support.fakes.kubernetes_api.watches import Watches

_VERSION = {"major": "1", "minor": "34", "gitVersion": "v1.34.0+fake", "platform": "linux/amd64"}
_BODY_BYTES = 3 * 1024**2  # what a real API server reads at most


class ApiServer:
    """Listens on a loopback port, which stays the same when it is closed and opened again."""

    def __init__(
        self,
        objects: Objects,
        watches: Watches,
        kubelet: Kubelet,
        authorizer: Authorizer,
        faults: Faults,
        context: ssl.SSLContext,
    ) -> None:
        self._objects, self._watches, self._kubelet = objects, watches, kubelet
        self._authorizer, self._faults, self._context = authorizer, faults, context
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def open(self) -> None:
        """Listen, on the port of before where there is one."""
        app = web.Application(client_max_size=_BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(
            self._runner, "127.0.0.1", self.port, ssl_context=self._context, reuse_address=True
        )
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """Close the port and cut every connection."""
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        try:
            if discovered := _discovery(request.path):
                return web.json_response(discovered)
            user = self._authorizer.user(request.headers.get("Authorization", ""))
            target = requests.target(request.method, request.path, request.query)
            await self._meet_fault(target)
            if target.resource is not ACCESS_REVIEWS:
                self._authorizer.check(user, target.access)
            return await self._serve(request, target, user)
        except Refusal as refusal:
            headers = {"Retry-After": str(refusal.retry_after)} if refusal.retry_after else None
            return web.json_response(refusal.status(), status=refusal.code, headers=headers)
        except (ConnectionError, asyncio.CancelledError):
            # The client left; there is nobody to answer.
            with contextlib.suppress(ConnectionError):
                if request.transport:
                    request.transport.abort()
            raise

    async def _meet_fault(self, target: Target) -> None:
        fault = self._faults.take(target.verb, target.resource_path)
        if fault is not None:
            await asyncio.sleep(fault.delay)
            if refusal := fault.refusal():
                raise refusal

    async def _serve(self, request: web.Request, target: Target, user: str) -> web.StreamResponse:
        if target.verb == "watch":
            return await self._watches.serve(request, target)
        if target.subresource == "log":
            return await container_logs.serve(request, target, self._kubelet)
        body = await _body(request)
        status = 201 if target.verb == "create" else 200
        return web.json_response(self._object(request, target, user, body), status=status)

    def _object(self, request: web.Request, target: Target, user: str, body: Any) -> Json:
        query, objects = request.query, self._objects
        if target.resource is ACCESS_REVIEWS:
            return self._authorizer.access_review(user, body)
        if target.verb == "get":
            return objects.read(target)
        if target.verb == "list":
            return objects.select(target, query)
        if target.verb == "create":
            return objects.create(target, body, query)
        if target.verb == "delete":
            return objects.delete(target, body, query)
        return objects.delete_all(target, body, query)


async def _body(request: web.Request) -> Any:
    """Return the request's JSON or YAML, an empty object where there is none.

    :raises Refusal: 400, 415.
    """
    raw = await request.read()
    if not raw.strip():
        return {}
    if "protobuf" in request.content_type:
        raise Refusal(415, "UnsupportedMediaType", "this server reads JSON and YAML only")
    try:
        body = yaml.safe_load(raw) if "yaml" in request.content_type else json.loads(raw)
    except (ValueError, yaml.YAMLError) as error:
        raise bad_request(f"couldn't get version/kind; json parse error: {error}") from error
    if body is None:
        return {}
    if not isinstance(body, dict | list):
        raise bad_request("couldn't get version/kind; json parse error: not an object")
    return body


def _discovery(path: str) -> Json | None:
    parts = [part for part in path.split("/") if part]
    if parts == ["version"]:
        return _VERSION
    if parts == ["api"]:
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
    if parts == ["apis"]:
        return resources.group_list()
    if parts == ["api", "v1"]:
        return resources.resource_list("", "v1")
    if len(parts) == 3 and parts[0] == "apis":
        return resources.resource_list(parts[1], parts[2])
    if parts in (["healthz"], ["readyz"], ["livez"]):
        return {"status": "ok"}
    return None
