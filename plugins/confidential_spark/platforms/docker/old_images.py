"""Enclave images that an engine keeps and no run needs any longer: builds that newer ones have replaced."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from confidential_spark.core.errors import EnclaveError
from confidential_spark.enclave.image import PREFIX
from confidential_spark.hooks.connections import find_connection
from confidential_spark.hooks.durable_files import log
from confidential_spark.hooks.housekeeping.stale import Stale
from confidential_spark.platforms.docker.enclave import connect
from confidential_spark.platforms.docker.failures import docker_failures
from confidential_spark.platforms.docker.settings import docker_settings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from docker.api import APIClient

KEPT = timedelta(days=30)
LOCAL_SOCKET = Path("/var/run/docker.sock")
SIGNED, TRUST = f"{PREFIX}mrenclave", f"{PREFIX}trust"


@dataclass(frozen=True)
class OldImage:
    """A signed enclave image.

    :param names: its tags and digests; empty where it has none.
    :param bytes: of all its layers; those that it shares with others stay.
    """

    image_id: str
    names: tuple[str, ...]
    bytes: int

    @property
    def name(self) -> str:
        """What a person calls it."""
        return self.names[0] if self.names else self.image_id


def stale_images(published: Iterable[Mapping[str, Any]], *, remove: bool) -> list[Stale]:
    """Return the old images of the deployment's engine, removed if told to; none where there is no engine.

    :param published: the image of each trust level that was announced last, as its event has it.
    :raises ConfigurationError: ``docker-connection-invalid``, ``secrets-…``.
    :raises EnclaveError: ``docker-…``.
    """
    settings = docker_settings()
    if not has_engine(settings.conn_id):
        return []
    needed = {settings.image, *(image.get(name) for image in published for name in ("reference", "digest"))}
    client = connect(settings, patience=0)
    found = old_images(client, {name for name in needed if isinstance(name, str)})
    gone = remove_images(client, found) if remove else found
    return [Stale(image.name, "images", image.bytes) for image in gone]


def has_engine(conn_id: str) -> bool:
    """Whether there is a Docker engine: a connection that names one, `DOCKER_HOST`, or the local socket.

    :raises ConfigurationError: ``secrets-…``.
    """
    if os.environ.get("DOCKER_HOST") or LOCAL_SOCKET.is_socket():
        return True
    connection = find_connection(conn_id)
    return connection is not None and bool(connection.host)


def old_images(client: APIClient, needed: Collection[str], kept: timedelta = KEPT) -> list[OldImage]:
    """Return signed images made longer ago: not needed, not the newest of their trust, not in use.

    :param needed: ids or ``repository@sha256:…`` of images that runs start.
    :raises EnclaveError: ``docker-…``.
    """
    with docker_failures():
        images = client.images(filters={"label": [SIGNED]})
        used = {container["ImageID"] for container in client.containers(all=True)}
    newest = {max(group, key=_age_key)["Id"] for group in _by_trust(images)}
    oldest_kept = time.time() - kept.total_seconds()
    return [
        OldImage(image["Id"], _names(image), image["Size"])
        for image in sorted(images, key=_age_key)
        if image["Created"] < oldest_kept
        and image["Id"] not in used | newest
        and not {image["Id"], *_names(image)} & set(needed)
    ]


def remove_images(client: APIClient, images: Iterable[OldImage]) -> Iterator[OldImage]:
    """Remove images, and yield those that are gone; the engine keeps what a container has come to use."""
    for image in images:
        try:
            with docker_failures():
                for name in image.names or (image.image_id,):
                    client.remove_image(name)
        except EnclaveError as error:
            log.warning("The image %s stays: %s", image.name, error)
        else:
            yield image


def _by_trust(images: Iterable[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for image in images:
        groups[(image.get("Labels") or {}).get(TRUST, "")].append(image)
    return list(groups.values())


def _age_key(image: dict[str, Any]) -> tuple[int, str]:
    return image["Created"], image["Id"]


def _names(image: dict[str, Any]) -> tuple[str, ...]:
    names = (*(image.get("RepoTags") or ()), *(image.get("RepoDigests") or ()))
    return tuple(name for name in names if not name.startswith("<none>"))
