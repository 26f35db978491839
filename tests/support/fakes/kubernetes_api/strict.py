"""Fields that the API does not have, found with the real client's models."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from kubernetes.client import models

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fakes.kubernetes_api.refusals import Json

_CONTAINER_TYPE = re.compile(r"^(?P<kind>list|dict)[\[(](?:str, ?)?(?P<item>\w+)[\])]$")


def unknown_fields(body: Json) -> list[str]:
    """Return the paths of unknown fields of an object; types without a model have none."""
    return list(_unknown(f"V1{body.get('kind', '')}", body, ""))


def _unknown(type_name: str, value: Any, path: str) -> Iterator[str]:
    if match := _CONTAINER_TYPE.match(type_name):
        items = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []
        for index, item in enumerate(items):
            yield from _unknown(match["item"], item, f"{path}[{index}]")
        return
    model = getattr(models, type_name, None) or getattr(models, f"Core{type_name}", None)
    if model is None or not isinstance(value, dict):
        return
    types = {model.attribute_map[name]: type_ for name, type_ in model.openapi_types.items()}
    for key, item in value.items():
        inner = f"{path}.{key}" if path else key
        if key not in types:
            yield inner
        else:
            yield from _unknown(types[key], item, inner)
