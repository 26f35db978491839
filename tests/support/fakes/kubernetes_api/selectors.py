"""Label selectors and field selectors."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.support.fakes.kubernetes_api.refusals import bad_request

if TYPE_CHECKING:
    from tests.support.fakes.kubernetes_api.refusals import Json

Matcher = Callable[["Json"], bool]

_SET = re.compile(r"^(?P<key>[\w./-]+)\s+(?P<operator>in|notin)\s+\((?P<values>[^()]*)\)$")
_EQUAL = re.compile(r"^(?P<key>[\w./-]+)\s*(?P<operator>==|=|!=)\s*(?P<value>[\w.-]*)$")
_EXISTS = re.compile(r"^(?P<not>!?)\s*(?P<key>[\w./-]+)$")
_TOP_LEVEL_COMMA = re.compile(r",(?![^()]*\))")
_SELECTABLE = {"metadata.name", "metadata.namespace", "reason", "type"}
_SELECTABLE_PREFIXES = ("spec.", "status.", "involvedObject.")


def label_matcher(selector: str) -> Matcher:
    """A test of an object's labels: `a=b`, `a!=b`, `a in (b,c)`, `a notin (b)`, `a`, `!a`, with commas."""
    tests = [_label_test(term.strip()) for term in _TOP_LEVEL_COMMA.split(selector) if term.strip()]
    return lambda item: all(test(item["metadata"].get("labels") or {}) for test in tests)


def _label_test(term: str) -> Callable[[dict[str, str]], bool]:
    if match := _SET.match(term):
        key, values = match["key"], {value.strip() for value in match["values"].split(",")}
        if match["operator"] == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if match := _EQUAL.match(term):
        key, value = match["key"], match["value"]
        if match["operator"] == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if match := _EXISTS.match(term):
        key, wanted = match["key"], not match["not"]
        return lambda labels: (key in labels) is wanted
    raise bad_request(f"unable to parse requirement: {term!r}")


def field_matcher(selector: str) -> Matcher:
    """A test of an object's fields: `metadata.name=x`, `status.phase!=y`, joined by commas."""
    terms = [_field_term(term.strip()) for term in selector.split(",") if term.strip()]
    return lambda item: all((_field(item, path) == value) is equal for path, value, equal in terms)


def _field_term(term: str) -> tuple[str, str, bool]:
    match = re.match(r"^([\w.]+)\s*(==|=|!=)\s*(.*)$", term)
    if not match:
        raise bad_request(f"invalid selector: {term!r}; can't understand {term!r}")
    path = match[1]
    if path not in _SELECTABLE and not path.startswith(_SELECTABLE_PREFIXES):
        raise bad_request(f'field label not supported: "{path}"')
    return path, match[3], match[2] != "!="


def _field(item: Json, path: str) -> str:
    value: Any = item
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return "" if value is None else str(value)
