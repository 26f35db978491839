"""Programs are compiled once per content of their Go module, and never half."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from confidential_spark.core.errors import ConfidentialSparkError

from tests.support.cluster.machine import MachineUnfitError
from tests.support.cluster.places import GO_MODULE, Places
from tests.support.cluster.programs import (
    KUBERNETES,
    NETWORK,
    PROGRAMS,
    GoModule,
    ensure_programs,
    require_compiler,
)

if TYPE_CHECKING:
    from pathlib import Path

# Says its version, and "compiles" by writing down its arguments; $GO_FAILS makes it fail half way.
FAKE_GO = """#!/bin/sh
if [ "$1" = env ]; then echo "$GO_VERSION"; exit; fi
while [ "$1" != -o ]; do echo "$1" >> "$GO_LOG"; shift; done
echo half > "$2"kubectl
[ -z "$GO_FAILS" ] || { echo "cannot compile: $GO_FAILS" >&2; exit 1; }
"""


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Go on PATH that compiles nothing; its log is returned."""
    command = tmp_path / "bin" / "go"
    command.parent.mkdir()
    command.write_text(FAKE_GO)
    command.chmod(0o755)
    log = tmp_path / "go.log"
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("GO_LOG", str(log))
    monkeypatch.setenv("GO_VERSION", "go1.99.1")
    return log


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "cluster")


@pytest.mark.parametrize("module", [KUBERNETES, NETWORK], ids=["kubernetes", "network"])
def test_compiled_once(go: Path, places: Places, module: GoModule) -> None:
    folder = ensure_programs(places, module)
    assert folder == module.folder(places)
    assert (folder / "kubectl").is_file()
    go.unlink()
    assert ensure_programs(places, module) == folder
    assert not go.exists()


def test_each_module_is_compiled_for_itself(go: Path, places: Places) -> None:
    folders = {ensure_programs(places), ensure_programs(places, NETWORK)}
    assert {each.name.partition("-")[0] for each in folders} == {"programs", "network"}
    assert go.read_text().count("-trimpath") == 2


def test_any_change_of_a_module_has_a_folder_of_its_own(places: Places, tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    shutil.copytree(NETWORK.sources, sources)
    copy = replace(NETWORK, sources=sources)
    assert copy.folder(places) == NETWORK.folder(places)
    (sources / "main.go").write_text("package main")
    assert copy.folder(places) != NETWORK.folder(places)


def test_programs_know_their_version(go: Path, places: Places) -> None:
    ensure_programs(places)
    assert f"k8s.io/component-base/version.gitVersion={KUBERNETES.version}" in go.read_text()


def test_nothing_is_kept_of_a_failed_compilation(
    go: Path, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GO_FAILS", "no such module")
    with pytest.raises(ConfidentialSparkError, match="cannot compile: no such module") as refused:
        ensure_programs(places)
    assert refused.value.code == "cluster-build-failed"
    assert list(places.home.iterdir()) == []


def test_what_a_killed_compilation_left_is_removed(go: Path, places: Places) -> None:
    killed = places.home / ".building-killed"
    killed.mkdir(parents=True)
    (killed / "kubelet").write_text("half")
    folder = ensure_programs(places)
    assert list(places.home.iterdir()) == [folder]


@pytest.mark.parametrize(
    "version",
    [
        pytest.param("go1.23.9", id="too-old"),
        pytest.param("devel go1.99", id="unreadable"),
        pytest.param("", id="silent"),
    ],
)
def test_an_unfit_go_is_refused(
    go: Path, places: Places, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setenv("GO_VERSION", version)
    with pytest.raises(MachineUnfitError) as refused:
        ensure_programs(places)
    assert refused.value.code == "cluster-go-missing"


def test_without_go_it_is_refused(places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineUnfitError, match="no Go"):
        ensure_programs(places)
    with pytest.raises(MachineUnfitError, match="no Go"):
        require_compiler(places)


def test_what_is_compiled_needs_no_go(go: Path, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (KUBERNETES, NETWORK):
        ensure_programs(places, module)
    monkeypatch.setenv("GO_VERSION", "")
    require_compiler(places)


def test_every_program_is_a_tool_or_a_folder_of_the_module() -> None:
    module = (GO_MODULE / "go.mod").read_text(encoding="utf-8")
    for package in PROGRAMS.values():
        assert f"\t{package}\n" in module or (GO_MODULE / package / "main.go").is_file(), package
