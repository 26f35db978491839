"""What the loopback service answers: a status, a body and headers, in the shapes of Azure's APIs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from confidential_spark.agent.protocol import canonical_json

if TYPE_CHECKING:
    from collections.abc import Mapping

JSON = "application/json; charset=utf-8"


@dataclass(frozen=True)
class Answer:
    """One HTTP answer."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):
    """A request is answered with an error.

    :param answer: what the caller gets.
    """

    def __init__(self, answer: Answer) -> None:
        """Keep the answer."""
        super().__init__(answer.status)
        self.answer = answer


def ok(document: Mapping[str, Any]) -> Answer:
    """Return a document."""
    return Answer(200, canonical_json(dict(document)))


def error(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Return an error in Azure's shape: ``{"error": {"code", "message"}}``."""
    return Answer(
        status, canonical_json({"error": {"code": code, "message": message}}), headers=headers or {}
    )


def invalid_parameter(message: str) -> Refused:
    """Return MAA's refusal of a request's content, to be raised."""
    return Refused(error(400, "InvalidParameter", message))
