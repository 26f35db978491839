"""The registry: which images there are, and how a pull of the others fails."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_REFERENCE = re.compile(
    r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
    r"(:[\w][\w.-]{0,127})?(@sha256:[0-9a-f]{64})?$"
)


@dataclass(frozen=True)
class Image:
    """What an image contributes to a process: there is no file system in it.

    :param entrypoint: ENTRYPOINT, for pods that state no command.
    """

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


class Images:
    """All images can be pulled, but those a test broke, and those of a `.invalid` host, as anywhere."""

    def __init__(self) -> None:
        self._images: dict[str, Image] = {}
        self._broken: dict[str, str] = {}

    def add(self, reference: str, image: Image) -> None:
        self._images[reference] = image

    def break_pull(self, reference: str, message: str) -> None:
        self._broken[reference] = message

    def get(self, reference: str) -> Image:
        return self._images.get(reference, Image())

    def is_present(self, reference: str) -> bool:
        """Whether a node has it without a pull."""
        return reference in self._images

    def is_reference(self, reference: str) -> bool:
        return _REFERENCE.match(reference) is not None

    def pull_error(self, reference: str) -> str | None:
        """Why a pull fails now, in the words of containerd, or None."""
        if reference in self._broken:
            return self._broken[reference]
        host = reference.partition("/")[0].partition(":")[0]
        if host.endswith(".invalid"):
            return (
                f'failed to pull and unpack image "{reference}": failed to resolve reference "{reference}": '
                f"failed to do request: dial tcp: lookup {host}: no such host"
            )
        return None
