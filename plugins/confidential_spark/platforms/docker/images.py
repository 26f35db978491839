"""The images of a Docker engine: found by label, built, pulled, pushed, tagged; and what it says meanwhile.

Source: Docker Engine API 1.41, the streams of `POST /build`, `/images/create` and `/images/…/push`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from confidential_spark.core.errors import EnclaveError
from confidential_spark.core.failures import UNNAMED, LogWatcher
from confidential_spark.platforms.docker.failures import docker_failures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from docker.api import APIClient

    from confidential_spark.platforms.docker.engine import RegistryLogin

DOCKERFILE = "Dockerfile"
NO_NETWORK = "none"
_STEP = re.compile(r"Step ([0-9]{1,4})/([0-9]{1,4}) : ")
_ID = re.compile(r"sha256:[0-9a-f]{64}")
MAX_LINE = 2_000


@dataclass(frozen=True)
class StoredImage:
    """An image as the engine has it.

    :param image_id: ``sha256:…`` over its configuration, labels included.
    :param repo_digests: ``repository@sha256:…`` wherever it was pulled from or pushed to.
    """

    image_id: str
    labels: Mapping[str, str]
    repo_digests: tuple[str, ...]


class ImageStore:
    """One engine's images.

    :param client: of the engine.
    :param on_line: gets every line that the engine says.
    """

    def __init__(self, client: APIClient, on_line: Callable[[str, EngineMessages], None]) -> None:
        """Ask nothing yet."""
        self.client = client
        self._on_line = on_line

    def inspect(self, reference: str) -> StoredImage | None:
        """Return an image by id, tag or digest, or None when the engine has none.

        :raises EnclaveError: ``docker-…``, as everything here does.
        """
        from docker.errors import ImageNotFound

        with docker_failures():
            try:
                return self._inspected(reference)
            except ImageNotFound:
                return None

    def require(self, reference: str) -> StoredImage:
        """Return an image that must be there.

        :raises EnclaveError: ``image-not-found``.
        """
        with docker_failures():
            return self._inspected(reference)

    def _inspected(self, reference: str) -> StoredImage:
        facts = self.client.inspect_image(reference)
        labels = facts["Config"].get("Labels") or {}
        return StoredImage(str(facts["Id"]), labels, tuple(facts.get("RepoDigests") or ()))

    def find(self, labels: Mapping[str, str], named: Iterable[str] = ()) -> StoredImage | None:
        """Return the newest image with all these labels, or None.

        :param named: further labels that it has, whatever their values. An engine without BuildKit keeps an
            image for each label that it sets, and those of a build's last steps lack only some.
        """
        wanted = [*(f"{name}={value}" for name, value in labels.items()), *named]
        with docker_failures():
            found = self.client.images(filters={"label": wanted}, all=True)
        newest = max(found, key=lambda image: (image["Created"], image["Id"]), default=None)
        return self.inspect(newest["Id"]) if newest else None

    def build(
        self,
        tar: Iterable[bytes],
        *,
        build_args: Mapping[str, str],
        labels: Mapping[str, str],
        network: str = NO_NETWORK,
    ) -> str:
        """Build an image and return its id; what a failed build leaves is the engine's cache, no container.

        :param tar: the build context; what it raises itself is passed on.
        :param network: of the `RUN` steps.
        :raises EnclaveError: ``image-build-failed``, or what the log names.
        """
        with docker_failures():
            stream = self.client.build(
                fileobj=tar,
                custom_context=True,
                dockerfile=DOCKERFILE,
                buildargs=dict(build_args),
                labels=dict(labels),
                network_mode=network,
                rm=True,
                forcerm=True,
                decode=True,
            )
            messages, watcher = self._follow(stream)
        if messages.error is not None or messages.image_id is None:
            raise _failed("image-build-failed", "The image could not be built.", messages, watcher)
        return messages.image_id

    def tag(self, image_id: str, repository: str, tag: str) -> None:
        """Give an image a name, taking it from the image that had it."""
        with docker_failures():
            self.client.tag(image_id, repository, tag)

    def remove(self, reference: str) -> None:
        """Remove an image and what only it needs, unless something else uses it or it is gone."""
        from docker.errors import NotFound

        with docker_failures():
            try:
                self.client.remove_image(reference)
            except NotFound:
                return

    def pull(self, reference: str, login: RegistryLogin | None) -> StoredImage:
        """Pull an image by digest.

        :param reference: ``repository@sha256:…``.
        :raises EnclaveError: ``image-not-found``, ``registry-denied``, ``image-pull-interrupted``, ….
        """
        with docker_failures():
            auth = login.for_image(reference) if login else None
            stream = self.client.pull(reference, stream=True, decode=True, auth_config=auth)
            messages, watcher = self._follow(stream)
        image = None if messages.error else self.inspect(reference)
        if image is None:
            raise _failed("image-not-found", "The image could not be pulled.", messages, watcher)
        return image

    def push(self, image_id: str, repository: str, tag: str, login: RegistryLogin | None) -> str:
        """Push an image and return ``repository@sha256:…``; pushing it again changes nothing.

        :raises EnclaveError: ``image-push-failed``, or what the registry's words mean.
        """
        self.tag(image_id, repository, tag)
        with docker_failures():
            auth = login.for_image(repository) if login else None
            stream = self.client.push(repository, tag=tag, stream=True, decode=True, auth_config=auth)
            messages, watcher = self._follow(stream)
        if messages.error is not None or messages.digest is None:
            raise _failed("image-push-failed", "The image could not be pushed.", messages, watcher)
        return f"{repository}@{messages.digest}"

    def _follow(self, stream: Iterable[dict[str, Any]]) -> tuple[EngineMessages, LogWatcher]:
        messages, watcher = EngineMessages(), LogWatcher()
        for message in stream:
            for line in messages.read(message):
                watcher.feed(line)
                self._on_line(line, messages)
        for line in messages.rest():
            self._on_line(line, messages)
        return messages, watcher


def _failed(code: str, message: str, messages: EngineMessages, watcher: LogWatcher) -> EnclaveError:
    """Return the named failure, if the table has one for what was said."""
    said = messages.error or "the engine ended without an image"
    watcher.feed(said)
    diagnosis = watcher.diagnose()
    if diagnosis.failure is not UNNAMED:
        return diagnosis.error()
    return EnclaveError(
        message,
        code=code,
        got=said,
        action="read the engine's last lines above, and docs/runbooks/enclave_image.md",
    )


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
