"""Results in Azurite, and transports between which a publisher dies or loses an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from azure.core.exceptions import HttpResponseError, ServiceRequestError, ServiceResponseError
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import BlobLeaseClient, BlobServiceClient, LinearRetry
from confidential_spark.hooks.results.blob_folder import BlobFolder
from confidential_spark.hooks.results.blob_store import BlobResults

from tests.support.azure.azurite import KEY

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

CONTAINER = "results"
AT_ONCE = LinearRetry(backoff=0, random_jitter_range=0, retry_total=3)


class Died(BaseException):
    """The process is gone: nothing after it is asked."""


class Faults(RequestsTransport):
    """Counts requests, and spoils one of them.

    :param at: number of the request, from 1.
    :param kind: ``dies-before`` and ``dies-after`` it is sent, with all later ones; ``unsent``: the network
        is away from then on; ``lost-answer``: it is done, and only its answer is lost.
    """

    def __init__(self, at: int = 0, kind: str = "") -> None:
        super().__init__()
        self.at, self.kind, self.count = at, kind, 0

    def send(self, request: Any, **kwargs: Any) -> Any:
        self.count += 1
        is_it, dead = self.count == self.at, 0 < self.at < self.count
        if (self.kind == "dies-before" and (is_it or dead)) or (self.kind == "dies-after" and dead):
            raise Died
        if self.kind == "unsent" and (is_it or dead):
            raise ServiceRequestError(f"the network is away for {request.url}")
        response = super().send(request, **kwargs)
        if is_it and self.kind == "dies-after":
            raise Died
        if is_it and self.kind == "lost-answer":
            raise ServiceResponseError("the answer is lost")
        return response


@dataclass(frozen=True)
class BlobPlace:
    """A prefix of its own in an emulator, for one test."""

    endpoint: str
    prefix: str
    marker_ending: ClassVar[str] = ".json"

    @property
    def url(self) -> str:
        return f"{self.endpoint}/{CONTAINER}/{self.prefix}"

    def container(self, faults: RequestsTransport | None = None, credential: Any = KEY) -> ContainerClient:
        options: dict[str, Any] = {"transport": faults} if faults else {}
        if getattr(faults, "kind", "") == "unsent":
            options["retry_policy"] = LinearRetry(backoff=0, random_jitter_range=0, retry_total=0)
        service = BlobServiceClient(
            self.endpoint, credential=credential, **{"retry_policy": AT_ONCE, **options}
        )
        return service.get_container_client(CONTAINER)

    def folder(self, faults: RequestsTransport | None = None, credential: Any = KEY) -> BlobFolder:
        return BlobFolder(self.container(faults, credential), f"{self.prefix}/", self.url)

    def results(self, faults: RequestsTransport | None = None, credential: Any = KEY) -> BlobResults:
        return BlobResults(self.folder(faults, credential))

    def names(self) -> list[str]:
        """Return the names of everything below the prefix."""
        return [entry.name for entry in self.folder().entries()]

    def write(self, name: str, content: bytes) -> None:
        self.folder().write(name, content)

    def expire_leases(self) -> None:
        """End the leases of dead processes, as time would."""
        container = self.container()
        for blob in container.list_blobs(name_starts_with=f"{self.prefix}/"):
            if blob.lease.state == "leased":
                try:
                    BlobLeaseClient(container.get_blob_client(blob.name)).break_lease(0)
                except HttpResponseError:
                    continue
