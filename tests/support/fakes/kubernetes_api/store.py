"""What etcd is to a cluster: objects, one counter of versions, and the history that watches read."""

from __future__ import annotations

import asyncio
import copy
import secrets
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tests.support.fakes.kubernetes_api import refusals

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.fakes.kubernetes_api.refusals import Json
    from tests.support.fakes.kubernetes_api.resources import Resource

_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"  # those of the API server's own random suffixes


def timestamp(at: datetime | None = None) -> str:
    """A time as the API writes it: UTC, whole seconds."""
    return (at or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")


class Signal:
    """Wakes every coroutine that waits, once per call of `notify`."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self) -> None:
        await self._event.wait()


@dataclass(frozen=True)
class Change:
    """One entry of the history.

    :param before: the object as it was, None for a new one.
    """

    version: int
    type: str
    resource: Resource
    object: Json
    before: Json | None


class Store:
    """Objects by type, namespace and name. Stored objects are never changed in place."""

    def __init__(self) -> None:
        self.version = 1000
        self.history: list[Change] = []
        self.changed = Signal()
        self._objects: dict[tuple[str, str, str], Json] = {}
        self._subscribers: list[Callable[[Change], None]] = []

    def subscribe(self, subscriber: Callable[[Change], None]) -> None:
        """Call this after every change, from the loop's own thread."""
        self._subscribers.append(subscriber)

    def find(self, resource: Resource, namespace: str, name: str) -> Json | None:
        return self._objects.get((resource.qualified, namespace if resource.namespaced else "", name))

    def get(self, resource: Resource, namespace: str, name: str) -> Json:
        """Return one object.

        :raises Refusal: 404.
        """
        if (found := self.find(resource, namespace, name)) is None:
            raise refusals.not_found(resource.qualified, name)
        return found

    def select(self, resource: Resource, namespace: str = "") -> list[Json]:
        """All objects of a type, those of one namespace when it is given, in the order of their names."""
        keys = [key for key in self._objects if key[0] == resource.qualified and namespace in ("", key[1])]
        return [self._objects[key] for key in sorted(keys)]

    def everything(self) -> list[Json]:
        return list(self._objects.values())

    def create(self, resource: Resource, namespace: str, new: Json) -> Json:
        """Store a new object, with a name, a uid and a time of its own.

        :raises Refusal: 409 when the name is taken.
        """
        created = self.complete(resource, namespace, new)
        name = created["metadata"]["name"]
        if (found := self.find(resource, namespace, name)) is not None:
            leaving = "deletionTimestamp" in found["metadata"]
            raise refusals.already_exists(resource.qualified, name, being_deleted=leaving)
        return self._record("ADDED", resource, created, None)

    @staticmethod
    def complete(resource: Resource, namespace: str, new: Json) -> Json:
        """Return the object as it would be stored: with its name, uid and time of creation."""
        created = copy.deepcopy(new)
        metadata = created.setdefault("metadata", {})
        if not metadata.get("name") and (prefix := metadata.get("generateName")):
            metadata["name"] = prefix + "".join(secrets.choice(_SUFFIX_LETTERS) for _ in range(5))
        if not metadata.get("name"):
            raise refusals.invalid(resource.kind, "", "metadata.name", "Required value: name is required")
        created["apiVersion"], created["kind"] = resource.api_version, resource.kind
        if resource.namespaced:
            metadata["namespace"] = namespace
        metadata["uid"], metadata["creationTimestamp"] = str(uuid.uuid4()), timestamp()
        return created

    def replace(self, resource: Resource, new: Json) -> Json:
        """Store a changed object.

        :raises Refusal: 404; 409 when it carries another version than the stored one.
        """
        metadata = new["metadata"]
        before = self.get(resource, metadata.get("namespace", ""), metadata["name"])
        if (
            metadata.get("resourceVersion", before["metadata"]["resourceVersion"])
            != before["metadata"]["resourceVersion"]
        ):
            raise refusals.conflict(resource.qualified, metadata["name"])
        if new == before:
            return before
        return self._record("MODIFIED", resource, copy.deepcopy(new), before)

    def remove(self, resource: Resource, namespace: str, name: str) -> Json:
        """Forget an object and return it.

        :raises Refusal: 404.
        """
        before = self.get(resource, namespace, name)
        return self._record("DELETED", resource, copy.deepcopy(before), before)

    def _record(self, type_: str, resource: Resource, new: Json, before: Json | None) -> Json:
        self.version += 1
        metadata = new["metadata"]
        metadata["resourceVersion"] = str(self.version)
        key = (
            resource.qualified,
            metadata.get("namespace", "") if resource.namespaced else "",
            metadata["name"],
        )
        if type_ == "DELETED":
            del self._objects[key]
        else:
            self._objects[key] = new
        change = Change(self.version, type_, resource, new, before)
        self.history.append(change)
        self.changed.notify()
        for subscriber in self._subscribers:
            subscriber(change)
        return new
