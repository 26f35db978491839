"""Downloads are complete and as locked, or refused; only a passing cause is worth another try."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from confidential_spark.core.errors import ConfidentialSparkError
from confidential_spark.image_build import downloads

WHEEL, JAR = b"wheel", b"jar"


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def requirements(tmp_path) -> Path:
    path = tmp_path / "requirements.txt"
    path.write_text(f"pkg==1.0 \\\n    --hash=sha256:{sha(WHEEL)}\n")
    return path


class Tool:
    """pip or Maven, as this project sees it: writes files into the folder that it is told, or fails."""

    def __init__(self, files: dict[str, bytes], code: int = 0, stderr: str = "") -> None:
        self.files, self.code, self.stderr, self.calls = files, code, stderr, []

    def __call__(self, command, **options) -> SimpleNamespace:
        self.calls.append(command)
        argument = next(a for a in reversed(command) if a.rpartition("=")[2].startswith("/"))
        folder = Path(argument.rpartition("=")[2])
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        return SimpleNamespace(returncode=self.code, stderr=self.stderr, stdout="")


@pytest.fixture
def tool(monkeypatch):
    def install(*arguments, **options) -> Tool:
        made = Tool(*arguments, **options)
        monkeypatch.setattr(downloads.subprocess, "run", made)
        return made

    return install


def test_wheels_are_downloaded_once(requirements, tool, tmp_path) -> None:
    pip = tool({"pkg-1.0-py3-none-any.whl": WHEEL})
    for _ in range(2):
        files = downloads.wheels(requirements, "3.11", tmp_path / "cache")
        assert {name: file.sha256 for name, file in files.items()} == {"pkg-1.0-py3-none-any.whl": sha(WHEEL)}
    [command] = pip.calls
    assert "--require-hashes" in command
    assert "--only-binary=:all:" in command
    downloads.wheels(requirements, "3.12", tmp_path / "cache")
    assert len(pip.calls) == 2


def test_a_wheel_that_changed_in_the_cache_is_refused(requirements, tool, tmp_path) -> None:
    tool({"pkg.whl": WHEEL})
    downloads.wheels(requirements, "3.11", tmp_path / "cache")
    [cached] = (tmp_path / "cache").glob("wheels-*/pkg.whl")
    cached.write_bytes(b"evil")
    with pytest.raises(ConfidentialSparkError, match=r"build-input-changed.*pkg\.whl"):
        downloads.wheels(requirements, "3.11", tmp_path / "cache")


@pytest.mark.parametrize(
    ("stderr", "code", "retryable"),
    [
        pytest.param("ReadTimeoutError: Read timed out.", "download-failed", True, id="time"),
        pytest.param("Temporary failure in name resolution", "download-failed", True, id="name-service"),
        pytest.param("THESE PACKAGES DO NOT MATCH THE HASHES", "download-refused", False, id="hash"),
        pytest.param(
            f"Expected sha256 {'503' * 22}\nGot {'429' * 22}",
            "download-refused",
            False,
            id="digits-of-a-digest",
        ),
        pytest.param(
            "WARNING: Retrying after connection broken\nTHESE PACKAGES DO NOT MATCH THE HASHES",
            "download-refused",
            False,
            id="hash-after-a-retry",
        ),
        pytest.param("ERROR: HTTP error 503 while getting pkg", "download-failed", True, id="server-busy"),
        pytest.param("No matching distribution found for pkg", "download-refused", False, id="absent"),
    ],
)
def test_a_failed_download_leaves_nothing(requirements, tool, tmp_path, stderr, code, retryable) -> None:
    tool({"half.whl": b"ha"}, 1, stderr)
    with pytest.raises(ConfidentialSparkError) as failure:
        downloads.wheels(requirements, "3.11", tmp_path / "cache")
    assert (failure.value.code, failure.value.retryable) == (code, retryable)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_download_that_hangs_is_ended(requirements, monkeypatch, tmp_path) -> None:
    def hang(command, timeout, **options):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(downloads.subprocess, "run", hang)
    with pytest.raises(ConfidentialSparkError, match="no end after 900 s") as failure:
        downloads.wheels(requirements, "3.11", tmp_path / "cache")
    assert failure.value.retryable


@pytest.fixture
def project(tmp_path) -> tuple[Path, Path]:
    pom, sums = tmp_path / "pom.xml", tmp_path / "jars.sha256"
    pom.write_text("<project/>")
    sums.write_text(f"{sha(JAR)}  a.jar\n")
    return pom, sums


@pytest.fixture
def maven(monkeypatch) -> None:
    monkeypatch.setattr(downloads.shutil, "which", lambda name: f"/usr/bin/{name}")


@pytest.mark.parametrize(
    ("files", "named"),
    [
        pytest.param({"a.jar": b"other"}, "a.jar", id="another-content"),
        pytest.param({"a.jar": JAR, "b.jar": b"more"}, "b.jar", id="one-too-many"),
        pytest.param({}, "absent", id="one-too-few"),
    ],
)
@pytest.mark.usefixtures("maven")
def test_jars_are_exactly_the_locked_ones(project, tool, tmp_path, files, named) -> None:
    tool(files)
    with pytest.raises(ConfidentialSparkError, match="build-input-changed") as refusal:
        downloads.jars(*project, tmp_path / "cache")
    assert named in str(refusal.value)


def test_without_maven_the_cache_is_enough(project, tool, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(downloads.shutil, "which", lambda name: None)
    with pytest.raises(ConfidentialSparkError, match="maven-missing"):
        downloads.jars(*project, tmp_path / "cache")
    monkeypatch.setattr(downloads.shutil, "which", lambda name: f"/usr/bin/{name}")
    tool({"a.jar": JAR})
    cached = downloads.jars(*project, tmp_path / "cache")
    monkeypatch.setattr(downloads.shutil, "which", lambda name: None)
    assert downloads.jars(*project, tmp_path / "cache") == cached


def test_packages_are_exactly_the_listed_ones(tmp_path) -> None:
    (tmp_path / "SHA256SUMS").write_text(f"{sha(b'deb')}  az.deb\n")
    (tmp_path / "az.deb").write_bytes(b"deb")
    assert set(downloads.packages(tmp_path)) == {"az.deb"}
    (tmp_path / "more.deb").write_bytes(b"more")
    with pytest.raises(ConfidentialSparkError, match=r"more\.deb"):
        downloads.packages(tmp_path)


def test_a_missing_lock_file_is_named(tmp_path) -> None:
    with pytest.raises(ConfidentialSparkError, match="lock-file-unreadable"):
        downloads.packages(tmp_path)
