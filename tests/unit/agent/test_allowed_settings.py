from __future__ import annotations

import pytest
from confidential_spark.agent.allowed_settings import (
    allowed_jvm_option,
    allowed_spark_setting,
    secret_values,
)


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
        "spark.hadoop.fs.azure.account.keyprovider.a.blob.core.windows.net",
        "spark.hadoop.fs.azure.account.key.a=b spark.jars",
        "spark.master\nspark.jars",
    ],
)
def test_refuses_spark_settings_that_bring_code(name):
    assert not allowed_spark_setting(name)


def test_storage_credentials_are_allowed_and_secret():
    settings = {
        "spark.hadoop.fs.azure.account.key.data.blob.core.windows.net": "c2VjcmV0LWtleQ==",
        "spark.hadoop.fs.azure.sas.trips.data.blob.core.windows.net": "sv=2022&sig=abcdef123",
        "spark.master": "local[200]",
    }
    assert all(map(allowed_spark_setting, settings))
    assert secret_values(settings) == ("sv=2022&sig=abcdef123", "c2VjcmV0LWtleQ==")
