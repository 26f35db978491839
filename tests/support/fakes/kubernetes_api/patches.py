"""The patch formats of the API: JSON patch, merge patch, strategic merge patch."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from tests.support.fakes.kubernetes_api.refusals import Refusal, bad_request

if TYPE_CHECKING:
    from tests.support.fakes.kubernetes_api.refusals import Json

# What strategic merge takes as the identity of a list's items (the API's patchMergeKey tags, in this order).
_MERGE_KEYS = ("name", "mountPath", "containerPort", "type", "ip", "uid")


def apply(target: Json, patch: Any, content_type: str) -> Json:
    """Return the patched copy of an object.

    :raises Refusal: 415 for an unknown format, 400 for a malformed patch, 422 for a path that is not there.
    """
    if content_type == "application/json-patch+json":
        return _json_patch(target, patch)
    if not isinstance(patch, dict):
        raise bad_request("the patch is not an object")
    if content_type == "application/merge-patch+json":
        return _merge(target, patch, strategic=False)
    if content_type in ("application/strategic-merge-patch+json", "application/apply-patch+yaml"):
        return _merge(target, patch, strategic=True)
    raise Refusal(
        415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {content_type}"
    )


def _merge(target: Any, patch: Json, *, strategic: bool) -> Json:
    merged: Json = copy.deepcopy(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            merged[key] = _merge(merged.get(key), value, strategic=strategic)
        elif strategic and (identity := _identity(value)):
            merged[key] = _merge_list(merged.get(key) or [], value, identity)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def _identity(items: Any) -> str | None:
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        return None
    return next((key for key in _MERGE_KEYS if all(key in item for item in items)), None)


def _merge_list(current: list[Json], patch: list[Json], identity: str) -> list[Json]:
    merged = {item.get(identity): item for item in current}
    for item in patch:
        if item.get("$patch") == "delete":
            merged.pop(item[identity], None)
        else:
            merged[item[identity]] = _merge(merged.get(item[identity]), item, strategic=True)
    return list(merged.values())


def _json_patch(target: Json, operations: Any) -> Json:
    if not isinstance(operations, list):
        raise bad_request("a JSON patch is a list of operations")
    patched = copy.deepcopy(target)
    for operation in operations:
        try:
            _json_operation(patched, operation)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            message = f"the server rejected our request due to an error in our request: {operation}"
            raise Refusal(422, "Invalid", message) from error
    return patched


def _json_operation(root: Json, operation: Json) -> None:
    *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    node: Any = root
    for part in parents:
        node = node[int(part)] if isinstance(node, list) else node[part]
    if isinstance(node, list):
        _list_operation(node, operation, last)
    elif operation["op"] in ("add", "replace"):
        node[last] = operation["value"]
    elif operation["op"] == "remove":
        del node[last]
    elif operation["op"] == "test":
        _expect(node.get(last), operation["value"])
    else:
        raise ValueError(operation["op"])


def _list_operation(items: list[Any], operation: Json, last: str) -> None:
    if operation["op"] == "add":
        items.insert(len(items) if last == "-" else int(last), operation["value"])
    elif operation["op"] == "remove":
        del items[int(last)]
    elif operation["op"] == "replace":
        items[int(last)] = operation["value"]
    else:
        _expect(items[int(last)], operation["value"])


def _expect(got: Any, expected: Any) -> None:
    if got != expected:
        raise ValueError(f"test failed: {got!r} is not {expected!r}")
