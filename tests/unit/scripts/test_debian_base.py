"""The base image's tar is there completely or not at all, and killed runs leave nothing that stays."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest
from confidential_spark.core.errors import ConfigurationError

from scripts import debian_base
from scripts.debian_base import ensure_tar
from tests.support.places import ROOT

if TYPE_CHECKING:
    from pathlib import Path

UNSHARE = ["unshare", "--mount", "--propagation", "private"]
CAN_MOUNT = os.geteuid() == 0 and not subprocess.run([*UNSHARE, "true"], capture_output=True).returncode
# Like the real one, which mounts /proc in its folder: there it stays when it is killed.
DEBOOTSTRAP = """#!/bin/sh
mkdir -p "$4/etc" "$4/proc"
echo made > "$4/etc/issue"
"""
KILLED = f"""{DEBOOTSTRAP}
mount --bind "$OUTSIDE" "$4/proc"
kill -9 "$PPID"
"""
FAILED = f"""{DEBOOTSTRAP}
mount --bind "$OUTSIDE" "$4/proc"
exit 1
"""

MAKE_TAR = """
import sys
from pathlib import Path
from scripts.debian_base import ensure_tar
ensure_tar(Path(sys.argv[1]))
"""
TWICE = '"$0" -c "$1" "$2"; cp "$3" "$4"; "$0" -c "$1" "$2"'


@pytest.fixture
def debootstrap(tmp_path: Path, monkeypatch):
    """Put a debootstrap on the PATH that is the given script."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(debian_base.os, "geteuid", lambda: 0)

    def install(script: str) -> None:
        (programs / "debootstrap").write_text(script)
        (programs / "debootstrap").chmod(0o755)

    return install


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def left_in(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.glob(".debootstrap-*"))


def test_the_tar_is_made_once(debootstrap, cache: Path) -> None:
    debootstrap(DEBOOTSTRAP)
    tar = ensure_tar(cache)
    with tarfile.open(tar) as made:
        assert "./etc/issue" in made.getnames()
    debootstrap("exit 1")
    assert ensure_tar(cache) == tar
    assert left_in(cache) == []


def test_what_a_killed_run_left_is_removed_by_the_next(debootstrap, cache: Path) -> None:
    debootstrap(DEBOOTSTRAP)
    (cache / ".debootstrap-killed" / "root").mkdir(parents=True)
    ensure_tar(cache)
    assert left_in(cache) == []


def test_a_failure_leaves_neither_tar_nor_folder(debootstrap, cache: Path) -> None:
    debootstrap("#!/bin/sh\necho no mirror >&2\nexit 7\n")
    with pytest.raises(ConfigurationError, match=r"debootstrap-failed.*exit code 7, no mirror"):
        ensure_tar(cache)
    assert [path.name for path in cache.iterdir()] == [".debootstrap.lock"]


@pytest.mark.skipif(not CAN_MOUNT, reason="needs root and mount namespaces")
@pytest.mark.parametrize("first", [KILLED, FAILED], ids=["killed", "failed"])
def test_what_was_mounted_there_survives(
    debootstrap, tmp_path: Path, cache: Path, monkeypatch, first
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "canary").write_text("alive")
    monkeypatch.setenv("OUTSIDE", str(outside))
    debootstrap(first)
    second = tmp_path / "second"
    second.write_text(DEBOOTSTRAP)
    # Both runs are in one mount namespace: what the first has mounted, the second finds.
    arguments = [
        sys.executable,
        MAKE_TAR,
        str(cache),
        str(second),
        str(tmp_path / "programs" / "debootstrap"),
    ]
    command = [*UNSHARE, "sh", "-c", TWICE, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (outside / "canary").read_text() == "alive"
    assert left_in(cache) == []
    assert list(cache.glob("*.tar"))
