"""The archive's life as a file, with shell scripts for Java and the job; a benchmark builds a real one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from confidential_spark.enclave.class_archive import TrainingJob, build_class_archive, class_archive_path
from confidential_spark.enclave.spark import SMALLEST_PLAN, SparkRuntime

# Writes whatever file the option names that the JVM would write.
WRITES = """#!/bin/sh
for option; do case "$option" in
  -XX:DumpLoadedClassList=*) echo java/lang/Object > "${option#*=}" ;;
  -XX:SharedArchiveFile=*) echo archive > "${option#*=}" ;;
esac; done
"""
FAILS = "#!/bin/sh\necho cannot map >&2\nexit 3\n"
SLEEPS = "#!/bin/sh\nexec sleep 30\n"
WRITES_NOTHING = "#!/bin/sh\nexit 0\n"


@pytest.fixture
def runtime(tmp_path):
    def make(script):
        java = tmp_path / "jdk" / "bin" / "java"
        java.parent.mkdir(parents=True, exist_ok=True)
        java.write_text(script)
        java.chmod(0o755)
        options = ("-Xmx512m",)
        return SparkRuntime(java, Path("/opt/spark"), Path(sys.executable), options, {}, SMALLEST_PLAN)

    return make


@pytest.fixture
def job(tmp_path):
    def make(source='print(\'{"job": "mine"}\')'):
        file = tmp_path / "mine.py"
        file.write_text(source)
        return TrainingJob("mine", file, ["--month", "2018-05"], "file:///month")

    return make


def test_builds_once(runtime, job, tmp_path):
    archive = tmp_path / "cache" / "a.jsa"
    assert build_class_archive(runtime(WRITES), job(), archive)
    assert archive.read_text() == "archive\n"
    assert list(archive.parent.iterdir()) == [archive]
    assert build_class_archive(runtime(FAILS), job(), archive)


@pytest.mark.parametrize(
    ("script", "timeout", "reason"),
    [
        pytest.param(FAILS, 60, "exit code 3: cannot map", id="fails"),
        pytest.param(SLEEPS, 0.3, "not done after 0.3 s", id="hangs"),
        pytest.param(WRITES_NOTHING, 60, "made.jsa", id="writes-nothing"),
    ],
)
def test_a_failure_leaves_nothing_and_says_why(runtime, job, tmp_path, caplog, script, timeout, reason):
    archive = tmp_path / "cache" / "a.jsa"
    assert not build_class_archive(runtime(script), job(), archive, timeout=timeout)
    assert list(archive.parent.iterdir()) == []
    assert reason in caplog.text


def test_a_job_without_a_request_is_no_error(runtime, job, tmp_path, caplog):
    archive = tmp_path / "cache" / "a.jsa"
    assert not build_class_archive(runtime(WRITES), job("import pyspark"), archive)
    assert list(archive.parent.iterdir()) == []
    assert "job-form-unsupported" in caplog.text


def test_a_cache_that_cannot_be_written_is_no_error(runtime, job, tmp_path):
    (tmp_path / "cache").touch()
    assert not build_class_archive(runtime(WRITES), job(), tmp_path / "cache" / "a.jsa")


@pytest.fixture
def installation(tmp_path):
    """A Java home and a Spark home."""
    java = tmp_path / "jdk" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.touch()
    (tmp_path / "jdk" / "release").write_text('JAVA_VERSION="17"')
    jars = tmp_path / "spark" / "jars"
    jars.mkdir(parents=True)
    (jars / "core.jar").write_bytes(b"jar")
    return java, jars.parent


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda java, spark: (java.parents[1] / "release").write_text("21"), id="other-java"),
        pytest.param(lambda java, spark: (spark / "jars" / "new.jar").touch(), id="jar-added"),
        pytest.param(lambda java, spark: (spark / "jars" / "core.jar").write_bytes(b"other"), id="other-jar"),
        pytest.param(lambda java, spark: os.utime(spark / "jars" / "core.jar", (1, 1)), id="jar-touched"),
    ],
)
def test_what_the_jvm_would_refuse_has_another_name(installation, tmp_path, change):
    java, spark = installation
    before = class_archive_path(tmp_path, java, spark)
    assert class_archive_path(tmp_path, java, spark) == before
    change(java, spark)
    assert class_archive_path(tmp_path, java, spark) != before
