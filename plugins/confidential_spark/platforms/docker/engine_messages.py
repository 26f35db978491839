"""What an engine says while it builds, pulls or pushes an image: JSON messages → lines, progress, outcome.

Source: Docker Engine API 1.41, the streams of `POST /build`, `/images/create` and `/images/…/push`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_STEP = re.compile(r"Step ([0-9]{1,4})/([0-9]{1,4}) : ")
_ID = re.compile(r"sha256:[0-9a-f]{64}")
MAX_LINE = 2_000


@dataclass
class EngineMessages:
    """Reads one stream of messages.

    :ivar image_id: of the built image, once the engine said so.
    :ivar digest: of the pushed image, once the registry said so.
    :ivar error: what the engine ended the stream with.
    :ivar step: step of the Dockerfile and their number.
    """

    image_id: str | None = None
    digest: str | None = None
    error: str | None = None
    step: tuple[int, int] | None = None
    _line: str = ""
    _layers: dict[str, str] = field(default_factory=dict)

    def read(self, message: Mapping[str, Any]) -> Iterator[str]:
        """Yield the whole lines that a message completes."""
        if not isinstance(message, dict):
            return
        self._outcome(message)
        if isinstance(text := message.get("stream"), str):
            yield from self._lines(text)
        elif isinstance(status := message.get("status"), str):
            yield from self._layer(str(message.get("id", "")), status)

    def rest(self) -> Iterator[str]:
        """Yield the line that the stream ended in the middle of."""
        if self._line.strip():
            yield self._line[:MAX_LINE]
        self._line = ""

    def _outcome(self, message: Mapping[str, Any]) -> None:
        if "error" in message:
            self.error = str(message["error"]).strip() or "no reason given"
        aux = message.get("aux")
        if isinstance(aux, dict):
            self.image_id = _matching(aux.get("ID")) or self.image_id
            self.digest = _matching(aux.get("Digest")) or self.digest

    def _lines(self, text: str) -> Iterator[str]:
        *whole, self._line = (self._line + text).split("\n")
        # A program that never ends its line must not fill the memory.
        self._line = self._line[-MAX_LINE:]
        for line in whole:
            if step := _STEP.match(line):
                self.step = (int(step[1]), int(step[2]))
            if line.strip():
                yield line.rstrip()[:MAX_LINE]

    def _layer(self, layer: str, status: str) -> Iterator[str]:
        # Only what is new of a layer: its progress bar would be thousands of lines.
        if self._layers.get(layer) != status:
            self._layers[layer] = status
            yield f"{layer} {status}".strip()[:MAX_LINE]


def _matching(value: object) -> str | None:
    return value if isinstance(value, str) and _ID.fullmatch(value) else None
