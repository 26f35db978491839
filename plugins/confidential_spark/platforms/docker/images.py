"""The images of a Docker engine: found by label, built, pulled, pushed, tagged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from docker.errors import ImageNotFound, NotFound

from confidential_spark.core.errors import EnclaveError
from confidential_spark.core.failures import UNNAMED, LogWatcher
from confidential_spark.platforms.docker.engine_messages import EngineMessages
from confidential_spark.platforms.docker.failures import docker_failures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from docker.api import APIClient

    from confidential_spark.image_build.context import BuildContext
    from confidential_spark.platforms.docker.registry import RegistryLogin

DOCKERFILE = "Dockerfile"
NO_NETWORK = "none"


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

    def find(self, labels: Mapping[str, str]) -> StoredImage | None:
        """Return the newest image with all these labels, or None."""
        wanted = [f"{name}={value}" for name, value in labels.items()]
        with docker_failures():
            found = self.client.images(filters={"label": wanted}, all=True)
        newest = max(found, key=lambda image: (image["Created"], image["Id"]), default=None)
        return self.inspect(newest["Id"]) if newest else None

    def build(self, context: BuildContext, *, labels: Mapping[str, str], network: str = NO_NETWORK) -> str:
        """Build an image and return its id; what a failed build leaves is the engine's cache, no container.

        :param network: of the `RUN` steps.
        :raises EnclaveError: ``image-build-failed``, or what the log names.
        :raises InputError: ``build-input-changed``.
        """
        with docker_failures():
            stream = self.client.build(
                fileobj=context.tar(),
                custom_context=True,
                dockerfile=DOCKERFILE,
                buildargs=dict(context.build_args),
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
