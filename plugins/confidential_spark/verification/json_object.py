"""Typed access to the members of an untrusted JSON object."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from confidential_spark.core import base64url
from confidential_spark.verification import strict_json
from confidential_spark.verification.refusals import Refusal, refuse

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

_ABSENT = object()


@dataclass(frozen=True)
class JsonObject:
    """A JSON object whose members are read by type; every misfit is refused with ``code``.

    :param what: the object's name in messages.
    :param missing: the code for an absent member, when it has its own.
    """

    what: str
    members: Mapping[str, Any]
    code: Refusal
    missing: Refusal | None = None

    @classmethod
    def of(cls, value: object, what: str, code: Refusal) -> JsonObject:
        """Return ``value`` as an object, or refuse it."""
        if not isinstance(value, dict):
            refuse(code, f"The {what} is not a JSON object.", got=type(value).__name__, expected="an object")
        return cls(what, value, code)

    @classmethod
    def parse(
        cls, data: bytes | str, what: str, max_bytes: int, code: Refusal, duplicate: Refusal | None = None
    ) -> JsonObject:
        """Read strict JSON text that is one object, or refuse it."""
        value = strict_json.loads(data, what=what, max_bytes=max_bytes, malformed=code, duplicate=duplicate)
        return cls.of(value, what, code)

    def under(self, code: Refusal, missing: Refusal | None = None) -> JsonObject:
        """Return the same object, whose misfits are refused with another code from here on."""
        return JsonObject(self.what, self.members, code, missing)

    def only(self, required: Collection[str], optional: Collection[str] = ()) -> JsonObject:
        """Return self, or refuse unknown and absent members."""
        unknown = sorted(set(self.members) - set(required) - set(optional))
        if unknown:
            message, known = f"The {self.what} has an unknown member.", ", ".join([*required, *optional])
            refuse(self.code, message, got=unknown[0], expected=f"only {known}")
        for name in required:
            self._value(name)
        return self

    def text(self, name: str, pattern: str | None = None, max_length: int = 4096) -> str:
        """Return a non-empty string that matches ``pattern`` in full."""
        value = self._value(name)
        if not isinstance(value, str) or not 0 < len(value) <= max_length:
            self._misfit(name, value, f"a string of 1 to {max_length} characters")
        if pattern is not None and re.fullmatch(pattern, value, re.ASCII) is None:
            self._misfit(name, value, f"text of the form {pattern}")
        return value

    def optional_text(self, name: str, pattern: str | None = None) -> str | None:
        """Return a string as :meth:`text` does, or None for null."""
        return None if self._value(name) is None else self.text(name, pattern)

    def integer(self, name: str, minimum: int = 0, maximum: int = 2**63 - 1) -> int:
        """Return a whole number; true, false and 1.0 are not numbers here."""
        value = self._value(name)
        if type(value) is not int or not minimum <= value <= maximum:
            self._misfit(name, value, f"an integer from {minimum} to {maximum}")
        return value

    def boolean(self, name: str) -> bool:
        """Return true or false; 0 and 1 are not."""
        value = self._value(name)
        if type(value) is not bool:
            self._misfit(name, value, "true or false")
        return value

    def array(self, name: str, max_items: int = 10_000) -> list[Any]:
        """Return an array of any values."""
        value = self._value(name)
        if not isinstance(value, list) or len(value) > max_items:
            self._misfit(name, value, f"an array of at most {max_items} values")
        return value

    def object(self, name: str) -> JsonObject:
        """Return a member that is itself an object."""
        value = self._value(name)
        if not isinstance(value, dict):
            self._misfit(name, value, "an object")
        return JsonObject(f"{self.what}'s {name}", value, self.code, self.missing)

    def hexadecimal(self, name: str, size: int) -> str:
        """Return lower-case hex of exactly ``size`` bytes."""
        return self.text(name, rf"[0-9a-f]{{{2 * size}}}")

    def base64url(self, name: str, max_bytes: int) -> bytes:
        """Return the bytes of a canonical base64url member."""
        return self._decoded(name, max_bytes, base64url.decode)

    def base64(self, name: str, max_bytes: int) -> bytes:
        """Return the bytes of a canonical standard base64 member."""
        return self._decoded(name, max_bytes, base64url.decode_standard)

    def _decoded(self, name: str, max_bytes: int, decode: Callable[[str], bytes]) -> bytes:
        text = self.text(name, max_length=max_bytes * 4 // 3 + 4)
        try:
            return decode(text)
        except ValueError as error:
            self._misfit(name, text, str(error))

    def _value(self, name: str) -> Any:
        value = self.members.get(name, _ABSENT)
        if value is _ABSENT:
            message = f"The {self.what} has no {name}."
            refuse(self.missing or self.code, message, got="nothing", expected=name)
        return value

    def _misfit(self, name: str, value: Any, expected: str) -> NoReturn:
        refuse(self.code, f"The {self.what}'s {name} is malformed.", got=repr(value), expected=expected)
