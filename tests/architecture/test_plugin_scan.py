"""Airflow executes every Python file below plugins/ that is not ignored; only the entry file may be."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

PLUGINS = ROOT / "plugins"


def scanned_files(folder: Path) -> list[Path]:
    from airflow._shared.module_loading import find_path_from_directory

    paths = (Path(p) for p in find_path_from_directory(folder, ".airflowignore", "glob"))
    return sorted(p.relative_to(folder) for p in paths if p.suffix == ".py")


def test_only_the_entry_file_is_scanned() -> None:
    assert scanned_files(PLUGINS) == [Path("confidential_spark/plugin.py")]


def test_the_package_is_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each task's process searches `plugins/` again."""
    from airflow._shared.module_loading import file_discovery

    searched: list[str] = []
    walk = os.walk

    def noted(*arguments: Any, **options: Any) -> Iterator[Any]:
        for found in walk(*arguments, **options):
            searched.append(found[0])
            yield found

    monkeypatch.setattr(file_discovery.os, "walk", noted)
    scanned_files(PLUGINS)
    assert searched == [str(PLUGINS), str(PLUGINS / "confidential_spark")]


@pytest.mark.parametrize("name", ["docker.py", "email.py", "anything/deep/kubernetes.py"])
def test_a_new_module_is_not_scanned(tmp_path: Path, name: str) -> None:
    (tmp_path / ".airflowignore").write_text((PLUGINS / ".airflowignore").read_text())
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("raise AssertionError('executed by the plugin scan')\n")
    assert scanned_files(tmp_path) == []


def test_one_module_defines_the_plugin() -> None:
    definers = [p.name for p in PLUGINS.rglob("*.py") if "(AirflowPlugin)" in p.read_text()]
    assert definers == ["plugin.py"]
