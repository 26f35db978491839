"""Bytes of a stream → lines of text, of bounded length."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LINE_BYTES = 8_192


class LineAssembler:
    """Puts the lines of one stream together; a line that never ends is cut, not kept."""

    def __init__(self) -> None:
        """Start at the beginning of a line."""
        self._begun = b""

    def feed(self, data: bytes) -> Iterator[str]:
        """Yield the lines that are complete now, without their ends."""
        *whole, begun = (self._begun + data).split(b"\n")
        self._begun = begun[:MAX_LINE_BYTES]
        for line in whole:
            yield _text(line)

    def rest(self) -> Iterator[str]:
        """Yield the line that the stream ended in the middle of, if any."""
        if self._begun:
            yield _text(self._begun)
        self._begun = b""


def _text(line: bytes) -> str:
    return line[:MAX_LINE_BYTES].decode("utf-8", "replace").rstrip("\r")
