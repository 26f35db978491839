"""What is mounted below a folder is never removed with it; in a mount namespace of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from confidential_spark.hooks.housekeeping import mounts
from confidential_spark.hooks.housekeeping.mounts import mounts_below, remove_unmounted

if TYPE_CHECKING:
    from pathlib import Path

# A private mount namespace, in which nothing that is mounted reaches this machine.
UNSHARE = ["unshare", "--mount", "--propagation", "private"]
CAN_MOUNT = os.geteuid() == 0 and not subprocess.run([*UNSHARE, "true"], capture_output=True).returncode
needs_mounts = pytest.mark.skipif(not CAN_MOUNT, reason="needs root and mount namespaces")
# Binds the first folder to each place behind the second, and then does what a test wants.
PROGRAM = """
import os, subprocess, sys
from pathlib import Path
from confidential_spark.core.errors import ConfigurationError
from confidential_spark.hooks.housekeeping.mounts import mounts_below, remove_unmounted
outside, left, *places = map(Path, sys.argv[1:])
for place in places:
    subprocess.run(["mount", "--bind", outside, place], check=True)
"""


def in_namespace(program: str, *arguments: Path) -> str:
    command = [*UNSHARE, sys.executable, "-c", PROGRAM + program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that stands for the machine's /proc."""
    folder = tmp_path / "outside"
    (folder / "inner").mkdir(parents=True)
    (folder / "canary").write_text("alive")
    return folder


def make(folder: Path, *names: str) -> list[Path]:
    places = [folder / name for name in names]
    for place in places:
        place.mkdir(parents=True)
    return places


@needs_mounts
def test_what_is_mounted_is_unmounted_before_a_folder_is_removed(tmp_path: Path, outside: Path) -> None:
    left = tmp_path / "left behind"
    proc, other = make(left, "root/proc", "root/o\\ther")
    in_namespace("remove_unmounted(left)", outside, left, proc, proc, other)
    assert not left.exists()
    assert (outside / "canary").read_text() == "alive"


@needs_mounts
def test_nothing_is_removed_while_something_stays_mounted(tmp_path: Path, outside: Path) -> None:
    left = tmp_path / "left"
    (proc,) = make(left, "proc")
    program = """
os.chdir(places[0])
try:
    remove_unmounted(left)
except ConfigurationError as error:
    print(error.code, places[0].name in error.got)
"""
    said = in_namespace(program, outside, left, proc)
    assert said.split() == ["folder-in-use", "True"]
    assert (outside / "canary").read_text() == "alive"
    assert proc.is_dir()


@needs_mounts
def test_the_deepest_comes_first(tmp_path: Path, outside: Path) -> None:
    left = tmp_path / "left"
    (proc,) = make(left, "proc")
    program = "print(*mounts_below(left), sep='\\n')"
    said = in_namespace(program, outside, left, proc, proc / "inner")
    assert said.split() == [str(proc / "inner"), str(proc)]


def test_a_folder_with_nothing_mounted_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "left"
    make(left, "a/b")
    assert mounts_below(left) == []
    remove_unmounted(left)
    assert not left.exists()


def test_names_are_read_as_the_kernel_writes_them(tmp_path: Path, monkeypatch) -> None:
    line = f"36 35 98:0 / {tmp_path}/a\\040b\\134c rw,noatime shared:1 - ext4 /dev/sda1 rw\n"
    foreign = f"37 35 98:0 / {tmp_path}-other rw - ext4 /dev/sda1 rw\n"
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(line + foreign)
    monkeypatch.setattr(mounts, "MOUNTS", mountinfo)
    assert mounts_below(tmp_path) == [tmp_path / "a b\\c"]
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "none")
    assert mounts_below(tmp_path) == []
