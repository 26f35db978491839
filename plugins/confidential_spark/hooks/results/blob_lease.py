"""A lock on a blob that ends by itself when its holder dies."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

from confidential_spark.core.errors import ConfidentialSparkError, ResultError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from confidential_spark.hooks.results.blob_folder import BlobFolder

LEASE_S = 60
RENEWAL_S = 15.0
POLL_S = 2.0
WAIT_S = 90.0
"""Longer than a lease: a killed worker's try goes on as soon as its lease has expired."""


class Lease:
    """A lease on a lock blob, renewed in a thread of its own while it is held."""

    def __init__(self, folder: BlobFolder, name: str) -> None:
        """Choose the lease's id; nothing is locked yet."""
        self._folder = folder
        self.name = name
        self.id = str(uuid4())
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self) -> bool | None:
        """Take the lease; return False when somebody else has it, None when there is nothing to lock."""
        state = self._folder.acquire(self.name, LEASE_S, self.id)
        if state != "held":
            return None if state == "absent" else False
        self._thread = threading.Thread(target=self._renew_often, name=f"lease {self.name}", daemon=True)
        self._thread.start()
        return True

    def require(self) -> None:
        """Make sure that nobody else can have the lease within the next half minute.

        :raises ResultError: ``results-lease-lost``, retryable.
        """
        if not self.is_ours():
            raise ResultError(
                "This task lost its hold on the try: the storage was away for longer than a lease lasts.",
                code="results-lease-lost",
                got=f"{self._folder.url}/{self.name}",
                expected=f"a lease that is renewed every {RENEWAL_S:.0f} s",
                action="nothing: the task tries again; nothing of this attempt was kept",
                retryable=True,
            )

    def is_ours(self) -> bool:
        """Renew the lease; return False when somebody else has it, or has had it."""
        return self._folder.renew(self.name, self.id)

    def release(self) -> None:
        """Give the lease back; one that cannot be given back expires."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()
        try:
            self._folder.release(self.name, self.id)
        except ConfidentialSparkError:
            return

    def _renew_often(self) -> None:
        while not self._end.wait(RENEWAL_S):
            try:
                if not self._folder.renew(self.name, self.id):
                    return
            except ConfidentialSparkError:
                # Away for now; what matters is whether the lease is still ours when it is needed.
                continue


@contextmanager
def leased(folder: BlobFolder, name: str) -> Iterator[Lease | None]:
    """Hold a lease on a blob, waiting for it; yield None when there is no such blob.

    :raises ResultError: ``results-locked`` (retryable) when another process holds it for too long.
    """
    lease = Lease(folder, name)
    give_up_at = time.monotonic() + WAIT_S
    while (state := lease.acquire()) is False:
        if time.monotonic() >= give_up_at:
            raise ResultError(
                "Another process is working on these results.",
                code="results-locked",
                got=f"{folder.url}/{name} held for {WAIT_S:.0f} s",
                expected="a lease that is given back, or expires with its holder",
                action="look for a task of this run that is still being ended; then run again",
                retryable=True,
            )
        time.sleep(min(POLL_S, max(0.0, give_up_at - time.monotonic())))
    if state is None:
        yield None
        return
    try:
        yield lease
    finally:
        lease.release()


@contextmanager
def leased_if_free(folder: BlobFolder, name: str) -> Iterator[Lease | None]:
    """Hold a lease if nobody else does; yield None when somebody does, or there is nothing to lock."""
    lease = Lease(folder, name)
    held = lease.acquire()
    try:
        yield lease if held else None
    finally:
        if held:
            lease.release()
