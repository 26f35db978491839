"""Small changes to JSON values and bytes, for tables of tamperings."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]


def put(path: str, value: Any) -> Callable[[Json], Json]:
    """Return a change that sets the member at ``a/b/0/c``."""

    def change(document: Json) -> Json:
        document = copy.deepcopy(document)
        *parents, last = path.split("/")
        target: Any = document
        for name in parents:
            target = target[int(name)] if isinstance(target, list) else target[name]
        if isinstance(target, list):
            target[int(last)] = value
        else:
            target[last] = value
        return document

    return change


def drop(path: str) -> Callable[[Json], Json]:
    """Return a change that removes the member at ``a/b/c``."""

    def change(document: Json) -> Json:
        document = copy.deepcopy(document)
        *parents, last = path.split("/")
        target: Any = document
        for name in parents:
            target = target[int(name)] if isinstance(target, list) else target[name]
        del target[int(last) if isinstance(target, list) else last]
        return document

    return change


def flip(index: int, mask: int = 1) -> Callable[[bytes], bytes]:
    """Return a change of one byte."""

    def change(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[index] ^= mask
        return bytes(changed)

    return change


def swap(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    """Return a replacement of bytes that must be there."""

    def change(data: bytes) -> bytes:
        assert old in data
        return data.replace(old, new, 1)

    return change
