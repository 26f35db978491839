from __future__ import annotations

from pathlib import Path

import pytest
from confidential_spark.agent.launch.allowed_settings import (
    FIXED_SETTINGS,
    allowed_jvm_option,
)
from confidential_spark.core.errors import ConfigurationError
from confidential_spark.enclave.java import JavaRuntime
from confidential_spark.enclave.spark import (
    LATE_OPTIMISATION,
    MEBIBYTE,
    SMALL_INPUT_BYTES,
    SparkInstallation,
    choose_runtime,
    host_installation,
    memory_bytes,
    memory_plan,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.support.launch_settings import allowed_spark_setting

JAVA = JavaRuntime(Path("/usr/bin/java"), 17)
SMALL, LARGE = 300_000, SMALL_INPUT_BYTES


def runtime(archive=None, **changes):
    installation = host_installation(java=JAVA, archive=archive)
    return choose_runtime(
        **{"input_bytes": SMALL, "cores": 2, "memory": "2g", "installation": installation} | changes
    )


@pytest.mark.parametrize("size", [0, SMALL, LARGE, 50 * LARGE], ids=["none", "small", "large", "huge"])
@pytest.mark.parametrize("cores", [1, 2, 64])
def test_the_agent_admits_every_choice(size, cores, tmp_path):
    archive = tmp_path / "a.jsa"
    archive.touch()
    chosen = runtime(input_bytes=size, cores=cores, archive=archive, memory="8g")
    assert all(map(allowed_jvm_option, chosen.jvm_options))
    assert all(allowed_spark_setting(name, value) for name, value in chosen.spark_conf.items())


@pytest.mark.parametrize(
    ("size", "compilation", "heap"),
    [
        pytest.param(0, ["-XX:TieredStopAtLevel=1"], "-Xmx512m", id="no-input"),
        pytest.param(LARGE - 1, ["-XX:TieredStopAtLevel=1"], "-Xmx512m", id="small"),
        pytest.param(LARGE, list(LATE_OPTIMISATION), "-Xmx1536m", id="large"),
    ],
)
def test_size_decides(size, compilation, heap):
    chosen = runtime(input_bytes=size)
    assert [option for option in chosen.jvm_options if option.startswith("-XX:Tier")] == compilation
    assert heap in chosen.jvm_options


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_each_core_takes_one_part_of_a_shuffle(size):
    assert runtime(input_bytes=size, cores=3).spark_conf["spark.sql.shuffle.partitions"] == "3"


def test_everything_is_encrypted_on_loopback_and_in_utc():
    chosen = runtime()
    for name in ("spark.authenticate", "spark.network.crypto.enabled", "spark.io.encryption.enabled"):
        assert chosen.spark_conf[name] == "true"
    assert chosen.spark_conf["spark.driver.host"] == "127.0.0.1"
    assert chosen.spark_conf["spark.ui.enabled"] == "false"
    assert chosen.spark_conf["spark.sql.session.timeZone"] == "UTC"
    assert "-Duser.timezone=UTC" in chosen.jvm_options


def test_what_protects_is_what_the_agent_insists_on():
    assert {name: FIXED_SETTINGS.get(name, value) for name, value in runtime().spark_conf.items()} == (
        runtime().spark_conf
    )


def test_an_archive_that_is_not_there_is_not_used(tmp_path):
    assert not any("Shared" in option for option in runtime(archive=tmp_path / "absent.jsa").jvm_options)
    (tmp_path / "there.jsa").touch()
    used = runtime(archive=tmp_path / "there.jsa").jvm_options
    assert f"-XX:SharedArchiveFile={tmp_path / 'there.jsa'}" in used


def test_an_images_own_java_spark_and_python_are_named_without_looking_at_this_machine():
    image = SparkInstallation(
        java=Path("/image/java"),
        spark_home=Path("/image/spark"),
        python=Path("/image/python"),
        archive=Path("/image/classes.jsa"),
    )
    chosen = runtime(installation=image)
    assert (chosen.java, chosen.spark_home, chosen.python) == (image.java, image.spark_home, image.python)
    assert "-XX:SharedArchiveFile=/image/classes.jsa" in chosen.jvm_options


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"cores": 0}, "cores-invalid", id="no-cores"),
        pytest.param({"cores": 257}, "cores-invalid", id="too-many-cores"),
        pytest.param({"memory": "2gb"}, "memory-malformed", id="gb"),
        pytest.param({"memory": "2"}, "memory-malformed", id="no-unit"),
        pytest.param({"memory": "-2g"}, "memory-malformed", id="negative"),
        pytest.param({"memory": "0g"}, "memory-malformed", id="zero"),
        pytest.param({"memory": "1.5g"}, "memory-malformed", id="fraction"),
        pytest.param({"memory": "٢g"}, "memory-malformed", id="other-digits"),
        pytest.param({"memory": "2g\n"}, "memory-malformed", id="line-break"),
        pytest.param({"memory": "1023m"}, "memory-too-small", id="too-small"),
        pytest.param({"memory": "1k"}, "memory-too-small", id="tiny"),
    ],
)
def test_refuses(changes, code):
    with pytest.raises(ConfigurationError) as caught:
        runtime(**changes)
    assert caught.value.code == code
    assert caught.value.expected
    assert not caught.value.retryable


def test_too_little_memory_says_where_it_would_go():
    with pytest.raises(
        ConfigurationError, match="heap 512m \\+ metaspace 128m \\+ native 192m \\+ python 192m"
    ):
        memory_plan("512m", small=True)


@given(st.integers(1024, 400_000), st.booleans())
def test_the_parts_never_exceed_the_whole(limit, small):
    assert memory_plan(f"{limit}m", small=small).total <= limit


@pytest.mark.parametrize(
    ("text", "size"), [("1024k", MEBIBYTE), ("3M", 3 * MEBIBYTE), ("2g", 2048 * MEBIBYTE)]
)
def test_memory_sizes(text, size):
    assert memory_bytes(text) == size


@given(st.text(max_size=12))
def test_any_text_is_a_size_or_refused_by_name(text):
    try:
        size = memory_bytes(text)
    except ConfigurationError:
        return
    assert size > 0


def test_spark_is_found_without_importing_it():
    assert (runtime().spark_home / "jars").is_dir()


def test_missing_spark_is_named(monkeypatch):
    monkeypatch.setattr("confidential_spark.enclave.spark.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="spark-missing"):
        runtime()
