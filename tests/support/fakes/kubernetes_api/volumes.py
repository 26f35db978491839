"""Volumes as folders, and mount paths as paths below each container's own root.

There is no mount namespace here: a container's process sees the machine's files. So each container has a
folder `$FAKE_ROOT` in which every mount path exists, and every mount path that stands in its command,
arguments and environment is rewritten to lie below that folder. A program that has a mount path written in
its code must put `$FAKE_ROOT` before it.
"""

from __future__ import annotations

import base64
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.fakes.kubernetes_api.resources import CONFIG_MAPS, SECRETS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.fakes.kubernetes_api.machine import Machine
    from tests.support.fakes.kubernetes_api.refusals import Json

_MODE = 0o644


class MountError(Exception):
    """A volume cannot be set up now, in the kubelet's words."""


class PodFolders:
    """The folders of one pod."""

    def __init__(self, machine: Machine, pod: Json) -> None:
        self._machine, self._pod = machine, pod
        self._home: Path = machine.root / "pods" / str(pod["metadata"]["uid"])

    def mount(self) -> None:
        """Make every volume's folder; a second call makes what is missing.

        :raises MountError: a source does not exist.
        """
        for volume in self._pod["spec"].get("volumes") or []:
            self._volume(volume)

    def remove(self) -> None:
        shutil.rmtree(self._home, ignore_errors=True)

    def container_root(self, container: Json) -> Path:
        """Make a container's root, with links for its mounts and a file for its termination message."""
        root = self._home / "containers" / str(container["name"])
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        # Parents first: a mount below another one lies in that one's folder, as on a real node.
        for mount in sorted(container.get("volumeMounts") or [], key=lambda each: len(each["mountPath"])):
            source = self._source(mount["name"])
            target = root / str(mount["mountPath"]).strip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.is_symlink():
                target.symlink_to(source)
        message = root / container["terminationMessagePath"].strip("/")
        message.parent.mkdir(parents=True, exist_ok=True)
        message.write_bytes(b"")
        return root

    def _source(self, name: str) -> Path:
        return self._home / "volumes" / name

    @property
    def _namespace(self) -> str:
        return str(self._pod["metadata"]["namespace"])

    def _volume(self, volume: Json) -> None:
        folder = self._source(volume["name"])
        if "emptyDir" in volume:
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o777)
        elif not folder.exists():
            kind = next((key for key in volume if key != "name"), "emptyDir")
            _write_farm(folder, self._files(kind, volume[kind] or {}), volume[kind] or {})

    def _files(self, kind: str, source: Json) -> dict[str, bytes]:
        if kind == "secret":
            return self._data(source, SECRETS, source.get("secretName") or source.get("name", ""))
        if kind == "configMap":
            return self._data(source, CONFIG_MAPS, source["name"])
        if kind == "downwardAPI":
            items = source.get("items") or []
            return {
                item["path"]: field_value(self._pod, item["fieldRef"]["fieldPath"]).encode() for item in items
            }
        if kind == "serviceAccountToken":
            account = self._pod["spec"]["serviceAccountName"]
            return {source["path"]: self._machine.authorizer.account_token(self._namespace, account).encode()}
        if kind == "projected":
            files: dict[str, bytes] = {}
            for each in source.get("sources") or []:
                ((inner, spec),) = each.items()
                files.update(self._files(inner, spec))
            return files
        raise MountError(f"the fake kubelet has no volumes of type {kind}")

    def _data(self, source: Json, resource: object, name: str) -> dict[str, bytes]:
        kind = SECRETS if resource is SECRETS else CONFIG_MAPS
        found = self._machine.store.find(kind, self._namespace, name)
        if found is None:
            if source.get("optional"):
                return {}
            raise MountError(f'{kind.kind.lower()} "{name}" not found')
        data = object_data(found)
        if not (items := source.get("items")):
            return data
        if missing := [item["key"] for item in items if item["key"] not in data]:
            raise MountError(f"references non-existent secret key: {missing[0]}")
        return {item["path"]: data[item["key"]] for item in items}


def object_data(found: Json) -> dict[str, bytes]:
    """The contents of a Secret or a ConfigMap."""
    if found["kind"] == "Secret":
        return {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}
    binary = {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}
    return {**{key: value.encode() for key, value in (found.get("data") or {}).items()}, **binary}


def field_value(pod: Json, path: str) -> str:
    """A field for the downward API, e.g. ``metadata.name`` or ``metadata.labels['app']``.

    :raises KeyError: the API has no such field.
    """
    if match := re.match(r"^metadata\.(labels|annotations)\['([^']+)'\]$", path):
        return str((pod["metadata"].get(match[1]) or {}).get(match[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        values = pod["metadata"].get(path.partition(".")[2]) or {}
        return "\n".join(f'{key}="{value}"' for key, value in sorted(values.items()))
    section, _, name = path.partition(".")
    return str(pod[section][name])


def _write_farm(folder: Path, files: dict[str, bytes], source: Json) -> None:
    """Write files as the kubelet does: in a dated folder, `..data` to it, and a link for each name."""
    dated = folder / datetime.now(UTC).strftime("..%Y_%m_%d_%H_%M_%S.%f")
    dated.mkdir(parents=True)
    for path, content in files.items():
        target = dated / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(source.get("defaultMode", _MODE))
    (folder / "..data").symlink_to(dated.name)
    for top in sorted({Path(path).parts[0] for path in files}):
        (folder / top).symlink_to(Path("..data", top))


def rewriter(root: Path, container: Json) -> Callable[[str], str]:
    """A function that puts a container's root before every mount path in a text."""
    mounts = [mount["mountPath"].rstrip("/") for mount in container.get("volumeMounts") or []]
    paths = sorted({*mounts, container["terminationMessagePath"]} - {""}, key=len, reverse=True)
    # A whole path only: not the tail of a longer one, not a host in a URL, not the start of a longer name.
    pattern = re.compile(
        r"(?:(?<![\w./-])|(?<=file://))(?:" + "|".join(map(re.escape, paths)) + r")(?![\w.-])"
    )
    return lambda text: pattern.sub(lambda match: f"{root}{match[0]}", text)
