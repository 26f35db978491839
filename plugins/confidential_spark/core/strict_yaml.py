"""YAML as plain data: no aliases, no tags, no repeated keys, decimal numbers, bounded."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Hashable

MAX_BYTES = 64 * 1024
MAX_DEPTH = 12
_DECIMAL = r"-?(0|[1-9][0-9]{0,18})"

# libyaml when PyYAML was built with it: ten times faster, same behaviour.
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _UniqueKeyLoader(_SafeLoader):  # type: ignore[misc]
    """The safe loader, refusing repeated keys instead of keeping the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Return the mapping, or raise when a key comes twice."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                raise ValueError(f"line {node.start_mark.line + 1}: the key {key!r} comes twice")
        return super().construct_mapping(node, deep=deep)  # type: ignore[no-any-return]


def _decimal(loader: Any, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    if re.fullmatch(_DECIMAL, text, re.ASCII) is None:
        raise ValueError(f"line {node.start_mark.line + 1}: {text[:40]!r} is no plain decimal number")
    return int(text)


_UniqueKeyLoader.add_constructor("tag:yaml.org,2002:int", _decimal)


def loads(data: bytes) -> Any:
    """Read one YAML document.

    :raises ValueError: for anything but bounded plain data.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"{len(data)} bytes; at most {MAX_BYTES} are read")
    text = data.decode("utf-8")
    if text.startswith("\ufeff"):
        raise ValueError("it starts with a byte order mark")
    try:
        _require_plain(text)
        return yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 - a subclass of the safe loader
    except (yaml.YAMLError, TypeError, RecursionError, AttributeError, ArithmeticError) as error:
        raise ValueError(" ".join(str(error).split())) from error


def _require_plain(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_SafeLoader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise ValueError("anchors and aliases are not used here")
        if getattr(event, "tag", None) is not None:
            raise ValueError("tags are not used here")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH}")
