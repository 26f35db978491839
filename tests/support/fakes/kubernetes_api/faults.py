"""Misbehaviour of the API server, as told by a test."""

from __future__ import annotations

from dataclasses import dataclass

from tests.support.fakes.kubernetes_api.refusals import Refusal

_REASONS = {
    401: ("Unauthorized", "Unauthorized"),
    403: ("Forbidden", "forbidden"),
    409: ("Conflict", "Operation cannot be fulfilled: the object has been modified"),
    410: ("Expired", "The resourceVersion for the provided watch is too old."),
    429: ("TooManyRequests", "the server has received too many requests and has asked us to try again later"),
    500: ("InternalError", "Internal error occurred: injected"),
    503: ("ServiceUnavailable", "the server is currently unable to handle the request"),
    504: ("Timeout", "the server was unable to return a response in the time allotted"),
}


@dataclass
class Fault:
    """Requests that match are delayed, refused, or both.

    :param verb: e.g. ``create``, ``watch``; ``*`` for every one.
    :param resource: e.g. ``pods``, ``pods/log``; ``*`` for every one.
    :param status: HTTP status of the refusal, None for a delay only.
    :param delay: seconds before the request is looked at.
    :param times: how many requests are hit, None for all until the fault is taken away.
    :param message: the server's words, where the status alone does not tell the case.
    """

    verb: str = "*"
    resource: str = "*"
    status: int | None = None
    delay: float = 0.0
    times: int | None = 1
    retry_after: int | None = None
    message: str | None = None

    def refusal(self) -> Refusal | None:
        if self.status is None:
            return None
        reason, message = _REASONS[self.status]
        return Refusal(self.status, reason, self.message or message, retry_after=self.retry_after)


class Faults:
    """The faults that are in force, in the order they were injected."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        self._faults.append(fault)

    def clear(self) -> None:
        self._faults.clear()

    def take(self, verb: str, resource: str) -> Fault | None:
        """Return the first fault that this request meets, and count it."""
        for fault in self._faults:
            if fault.verb in ("*", verb) and fault.resource in ("*", resource):
                if fault.times is not None:
                    fault.times -= 1
                    if not fault.times:
                        self._faults.remove(fault)
                return fault
        return None
