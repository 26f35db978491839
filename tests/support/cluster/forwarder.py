"""Forwards a port to one of 127.0.0.1: into the node to its API server, out of it to an emulator."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

CHUNK_BYTES = 65_536


def forward(listener: socket.socket, port: int) -> None:
    """Forward every connection of ``listener`` to ``port`` of the caller's 127.0.0.1, in a thread of its own.

    A socket stays in the network namespace it was made in: made outside, it is the only way into the node;
    made inside and handed out, the only way of pods to this machine.
    """
    threading.Thread(
        target=asyncio.run, args=(_serve(listener, port),), daemon=True, name="forwarder"
    ).start()


async def _serve(listener: socket.socket, port: int) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _join(reader, writer, port)

    async with await asyncio.start_server(connected, sock=listener) as server:
        await server.serve_forever()


async def _join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    try:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        writer.close()
        return
    try:
        await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))
    finally:
        inner_writer.close()
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()
    except OSError:
        # The other side must end too, or a client waits for a server that was killed.
        writer.close()
