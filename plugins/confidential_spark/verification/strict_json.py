"""JSON that means one thing to every reader: UTF-8, no repeated members, no NaN, bounded."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from confidential_spark.verification.refusals import Refusal, refuse, require_size

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_DEPTH = 16
MAX_VALUES = 100_000


class _RepeatedMember(ValueError):
    """A JSON object names a member twice."""


def loads(
    data: bytes | str, *, what: str, max_bytes: int, malformed: Refusal, duplicate: Refusal | None = None
) -> Any:
    """Read one JSON value.

    :param what: the document's name in messages.
    :raises VerificationError: ``duplicate`` for a member named twice, ``input-too-large`` beyond
        ``max_bytes``, ``malformed`` for anything else, such as a byte order mark, NaN, lone
        surrogates or deep nesting.
    """
    require_size(data, what, max_bytes)
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        _require_bounded(text)
        value = _JSON.decode(text)
        _require_depth_and_text(value)
    except _RepeatedMember as error:
        code, message = duplicate or malformed, f"The {what} names a member twice."
        refuse(code, message, got=str(error), expected="unique names")
    except (ValueError, RecursionError) as error:
        refuse(malformed, f"The {what} is not strict JSON.", got=str(error), expected="strict UTF-8 JSON")
    return value


def dumps(value: Mapping[str, Any], *, what: str, malformed: Refusal) -> str:
    """Return a caller's own mapping as JSON text, so that it passes through the same strict reader.

    :raises VerificationError: ``malformed`` when it is not JSON.
    """
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        message = f"The {what} cannot be written as JSON."
        refuse(malformed, message, got=str(error), expected="JSON values only")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise _RepeatedMember(counts.most_common(1)[0][0])
    return members


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number beyond the range of floats")
    return number


_JSON = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_no_constant, parse_float=_finite_float)


def _require_bounded(text: str) -> None:
    # Counted before parsing: a few megabytes of "[[],[]…" would otherwise become gigabytes of objects.
    if text.count(",") + text.count("[") + text.count("{") > MAX_VALUES:
        raise ValueError(f"more than {MAX_VALUES} values")


def _require_depth_and_text(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        following: list[Any] = []
        for item in level:
            if isinstance(item, str):
                item.encode("utf-8")  # a lone surrogate raises UnicodeEncodeError, a ValueError
            elif isinstance(item, dict):
                following += [*item.keys(), *item.values()]
            elif isinstance(item, list):
                following += item
        level = following
        if not level:
            return
    raise ValueError(f"nested deeper than {MAX_DEPTH}")
