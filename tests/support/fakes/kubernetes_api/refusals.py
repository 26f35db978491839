"""Answers of an API server that are not 2xx, in the server's own shape (`Status`, meta/v1)."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


class Refusal(Exception):
    """One refused request.

    :param code: HTTP status.
    :param reason: machine-readable reason, e.g. ``AlreadyExists``.
    :param message: what `kubectl` would show.
    :param retry_after: seconds for the Retry-After header.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: Json | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message
        self.details, self.retry_after = details, retry_after

    def status(self) -> Json:
        body = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        return {**body, "details": self.details} if self.details else body


def not_found(plural: str, name: str) -> Refusal:
    return Refusal(404, "NotFound", f'{plural} "{name}" not found', {"name": name, "kind": plural})


def already_exists(plural: str, name: str, *, being_deleted: bool = False) -> Refusal:
    message = f'{plural} "{name}" already exists'
    message = f"object is being deleted: {message}" if being_deleted else message
    return Refusal(409, "AlreadyExists", message, {"name": name, "kind": plural})


def conflict(plural: str, name: str) -> Refusal:
    message = (
        f'Operation cannot be fulfilled on {plural} "{name}": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    return Refusal(409, "Conflict", message, {"name": name, "kind": plural})


def forbidden(plural: str, name: str, why: str) -> Refusal:
    target = f'{plural} "{name}"' if name else plural
    return Refusal(403, "Forbidden", f"{target} is forbidden: {why}", {"name": name, "kind": plural})


def invalid(kind: str, name: str, field: str, why: str) -> Refusal:
    message = f'{kind} "{name}" is invalid: {field}: {why}'
    causes = [{"reason": "FieldValueInvalid", "message": why, "field": field}]
    return Refusal(422, "Invalid", message, {"name": name, "kind": kind, "causes": causes})


def bad_request(message: str) -> Refusal:
    return Refusal(400, "BadRequest", message)
