from __future__ import annotations

import pytest
from confidential_spark.agent.launch.allowed_settings import (
    FIXED_SETTINGS,
    allowed_jvm_option,
    spark_setting_form,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.support.launch_settings import allowed_spark_setting


@pytest.mark.parametrize(
    "option",
    [
        "-javaagent:/host/evil.jar",
        "-agentpath:/host/evil.so",
        "-agentlib:jdwp=transport=dt_socket,server=y",
        "-Xbootclasspath/a:/host/evil.jar",
        "-cp",
        "/host/evil.jar",
        "@/host/arguments",
        "-XX:OnOutOfMemoryError=/host/evil",
        "-XX:OnError=/host/evil",
        "-XX:Flags=/host/flags",
        "-XX:VMOptionsFile=/host/flags",
        "-XX:SharedArchiveFile=/base.jsa:/host/evil.jsa",
        "-XX:DumpLoadedClassList=/tmp/classes",
        "-Dlog4j2.configurationFile=http://host/evil.xml",
        "-Djava.security.manager=Evil",
        "-Duser.timezone=UTC\n-javaagent:x",
        "--patch-module=java.base=/host",
        "-Xmx",
        "-Xmx0g",
        "-XX:Tier4InvocationThreshold=0",
        "-XX:Tier4LoadFeedback=3",
    ],
)
def test_refuses_jvm_options_that_bring_code(option):
    assert not allowed_jvm_option(option)


@pytest.mark.parametrize(
    "name",
    [
        "spark.jars",
        "spark.jars.packages",
        "spark.submit.pyFiles",
        "spark.driver.extraJavaOptions",
        "spark.driver.extraClassPath",
        "spark.executorEnv.LD_PRELOAD",
        "spark.pyspark.python",
        "spark.plugins",
        "spark.extraListeners",
        "spark.sql.extensions",
        "spark.sql.catalog.evil",
        "spark.hadoop.fs.defaultFS",
        "spark.hadoop.fs.azure.shellkeyprovider.script",
        "spark.hadoop.fs.azure.sas.token.provider.type.data.dfs.core.windows.net",
        "spark.hadoop.fs.azure.account.key",
        "spark.ui.port",
        "spark.master\nspark.jars",
    ],
)
def test_refuses_spark_settings_that_bring_code(name):
    assert spark_setting_form(name) is None
    assert not allowed_spark_setting(name, "1")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("spark.master", "spark://evil:7077", id="foreign-cluster"),
        pytest.param("spark.master", "local-cluster[2,1,1024]", id="local-cluster"),
        pytest.param("spark.master", "local[2]\nspark.jars /host/evil.jar", id="second-setting"),
        pytest.param("spark.authenticate", "false", id="no-authentication"),
        pytest.param("spark.network.crypto.enabled", "false", id="no-encryption"),
        pytest.param("spark.network.crypto.saslFallback", "true", id="fallback"),
        pytest.param("spark.io.encryption.enabled", "false", id="plain-spills"),
        pytest.param("spark.io.encryption.keySizeBits", "8", id="short-key"),
        pytest.param("spark.ui.enabled", "true", id="page-on-a-port"),
        pytest.param("spark.driver.host", "10.0.0.1", id="reachable-driver"),
        pytest.param("spark.driver.bindAddress", "0.0.0.0", id="every-interface"),  # noqa: S104
        pytest.param("spark.sql.session.timeZone", "America/New_York", id="other-hours"),
        pytest.param("spark.sql.shuffle.partitions", "${env:HOME}", id="substitution"),
        pytest.param(
            "spark.kubernetes.authenticate.oauthTokenFile",
            "/host/launch/../../tmp/spark-secret",
            id="private-file-as-token",
        ),
        pytest.param("spark.kubernetes.executor.podTemplateFile", "/host/launch/", id="folder-as-template"),
        pytest.param("spark.kubernetes.executor.label.app", "a b", id="label-with-a-space"),
        pytest.param("spark.kubernetes.executor.label.app", "x" * 64, id="long-label"),
    ],
)
def test_refuses_values_that_weaken_or_bring_code(name, value):
    assert spark_setting_form(name) is not None
    assert not allowed_spark_setting(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *FIXED_SETTINGS.items(),
        ("spark.master", "local[200]"),
        ("spark.driver.memory", "2g"),
        ("spark.kubernetes.authenticate.oauthTokenFile", "/host/launch/service-account/token"),
        ("spark.kubernetes.executor.podTemplateFile", "/host/launch/executor.yaml"),
        ("spark.kubernetes.executor.label.app.kubernetes.io/name", "confidential-spark"),
    ],
)
def test_accepts(name, value):
    assert allowed_spark_setting(name, value)


@given(st.sampled_from([*FIXED_SETTINGS, "spark.master"]), st.text(max_size=60))
def test_no_accepted_value_starts_a_second_line(name, value):
    if allowed_spark_setting(name, value):
        assert value.isprintable()
        assert not set(value) & set("$ {}\\\"'")
