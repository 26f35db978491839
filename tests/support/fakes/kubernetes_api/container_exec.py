"""`pods/exec`: a second program in a container, over a websocket (v4 and v5.channel.k8s.io)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from typing import TYPE_CHECKING

from aiohttp import WSMsgType, web

from tests.support.fakes.kubernetes_api.container_logs import container_record
from tests.support.fakes.kubernetes_api.processes import MARK
from tests.support.fakes.kubernetes_api.refusals import Refusal, bad_request
from tests.support.fakes.kubernetes_api.volumes import rewriter

if TYPE_CHECKING:
    from tests.support.fakes.kubernetes_api.kubelet import Kubelet
    from tests.support.fakes.kubernetes_api.pod_status import Record
    from tests.support.fakes.kubernetes_api.refusals import Json
    from tests.support.fakes.kubernetes_api.requests import Target

_STDIN, _STDOUT, _STDERR, _ERROR, _CLOSE = 0, 1, 2, 3, 255
_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
# Without a PID namespace such a command would meet the whole machine's processes.
_INTERRUPT = re.compile(rb"^\s*kill -2 \$\(pgrep ")
_LOOKS_FOR_PROCESSES = re.compile(rb"\b(pgrep|pkill|killall)\b|/proc/|\bkill\s+-?\d*\s*-1\b")


async def serve(request: web.Request, target: Target, kubelet: Kubelet) -> web.StreamResponse:
    """Run a program in a container, until it ends or the client leaves.

    :raises Refusal: 400 when the container does not run, or for a request that is no websocket.
    """
    record = container_record(kubelet, target, request.query.get("container", ""))
    command = request.query.getall("command", [])
    socket = web.WebSocketResponse(protocols=_PROTOCOLS)
    if not socket.can_prepare(request):
        raise bad_request("Upgrade request required")
    if (phase := kubelet.phase(target.namespace, target.name)) in ("Succeeded", "Failed"):
        raise bad_request(f"cannot exec into a container in a completed pod; current phase is {phase}")
    if record.process is None:
        raise Refusal(500, "InternalError", f'container "{record.name}" not found in pod "{target.name}"')
    await socket.prepare(request)
    # The client's handshake is complete with an empty frame on each of its channels.
    for channel in (_STDOUT, _STDERR):
        await socket.send_bytes(bytes([channel]))
    if _LOOKS_FOR_PROCESSES.search(" ".join(command).encode()):
        await _refuse(socket)
    else:
        await Session(socket, record, command).run()
    await socket.close()
    return socket


class Session:
    """One program and its channels."""

    def __init__(self, socket: web.WebSocketResponse, record: Record, command: list[str]) -> None:
        assert record.process is not None
        assert record.root is not None
        self._socket, self._container = socket, record.process
        rewrite = rewriter(record.root, record.spec)
        self._rewrite = rewrite
        self._command = [rewrite(part) for part in command]

    async def run(self) -> None:
        container = self._container
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                env={**container.environment, MARK: container.environment[MARK]},
                cwd=container.folder,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            await self._report(_failure(f'exec: "{error.filename}": {error.strerror}', 127))
            return
        assert process.stdout is not None
        assert process.stderr is not None
        reading = asyncio.create_task(self._read_client(process))
        try:
            await asyncio.gather(self._copy(process.stdout, _STDOUT), self._copy(process.stderr, _STDERR))
            code = await process.wait()
            message = f"command terminated with non-zero exit code: exit code {code}"
            await self._report(_failure(message, code) if code else _SUCCESS)
        finally:
            reading.cancel()
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def _read_client(self, process: asyncio.subprocess.Process) -> None:
        """Pass stdin on; without the client the program is ended."""
        assert process.stdin is not None
        async for message in self._socket:
            if message.type not in (WSMsgType.BINARY, WSMsgType.TEXT):
                continue
            data = message.data if isinstance(message.data, bytes) else message.data.encode()
            if data[:1] == bytes([_STDIN]):
                await self._stdin(process, data[1:])
            elif data[:1] == bytes([_CLOSE]) and data[1:] == bytes([_STDIN]):
                process.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            process.kill()

    async def _stdin(self, process: asyncio.subprocess.Process, data: bytes) -> None:
        assert process.stdin is not None
        if _INTERRUPT.match(data):
            # What Airflow sends to end its XCom sidecar means: interrupt everything in this container.
            self._container.interrupt_all()
            process.kill()
        elif _LOOKS_FOR_PROCESSES.search(data):
            await self._socket.send_bytes(bytes([_STDERR]) + _NO_NAMESPACE.encode())
            process.kill()
        else:
            process.stdin.write(
                self._rewrite(data.decode(errors="surrogateescape")).encode(errors="surrogateescape")
            )
            with contextlib.suppress(ConnectionError):
                await process.stdin.drain()

    async def _copy(self, stream: asyncio.StreamReader, channel: int) -> None:
        while chunk := await stream.read(65_536):
            with contextlib.suppress(ConnectionError):
                await self._socket.send_bytes(bytes([channel]) + chunk)

    async def _report(self, status: Json) -> None:
        with contextlib.suppress(ConnectionError):
            await self._socket.send_bytes(bytes([_ERROR]) + json.dumps(status).encode())


_NO_NAMESPACE = (
    "refused: this container has no PID namespace, the command would meet the whole machine's processes\n"
)
_SUCCESS: Json = {"metadata": {}, "status": "Success"}


async def _refuse(socket: web.WebSocketResponse) -> None:
    await socket.send_bytes(bytes([_STDERR]) + _NO_NAMESPACE.encode())
    await socket.send_bytes(bytes([_ERROR]) + json.dumps(_failure(_NO_NAMESPACE, 126)).encode())


def _failure(message: str, code: int) -> Json:
    details = {"causes": [{"reason": "ExitCode", "message": str(code)}]}
    return {
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": "NonZeroExitCode",
        "details": details,
    }
