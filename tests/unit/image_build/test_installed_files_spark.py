from pathlib import PurePosixPath

import pytest
from confidential_spark.image_build.installed_files import is_needed


@pytest.mark.parametrize(
    "path",
    [
        "jars/spark-core_2.12-3.5.9.jar",
        "jars/spark-sql_2.12-3.5.9.jar",
        "jars/spark-kubernetes_2.12-3.5.9.jar",
        "jars/kubernetes-client-6.7.2.jar",
        "jars/hive-storage-api-2.8.1.jar",
        "jars/parquet-hadoop-1.13.1.jar",
        "jars/antlr4-runtime-4.9.3.jar",
        "jars/netty-transport-native-epoll-4.1.96.Final-linux-x86_64.jar",
        "jars/json4s-core_2.12-3.7.0-M11.jar",
        "jars/commons-pool2-2.11.jar",
        "licenses/LICENSE-py4j.txt",
    ],
)
def test_what_jobs_need_is_kept(path):
    assert is_needed(PurePosixPath(path))


@pytest.mark.parametrize(
    "path",
    [
        "jars/spark-mllib_2.12-3.5.9.jar",
        "jars/spark-mllib-local_2.12-3.5.9.jar",
        "jars/spark-hive_2.12-3.5.9.jar",
        "jars/spark-hive-thriftserver_2.12-3.5.9.jar",
        "jars/hive-exec-2.3.9-core.jar",
        "jars/derby-10.14.2.0.jar",
        "jars/rocksdbjni-8.3.2.jar",
        "jars/netty-transport-native-epoll-4.1.96.Final-linux-aarch_64.jar",
        "jars/inner/spark-core.jar",
        "jars/readme.txt",
        "bin/spark-submit",
        "python/pyspark/shell.py",
        "python/lib/pyspark.zip",
        "jars/py4j-0.10.9.7.jar",
        "jars/pickle-1.3.jar",
        "jars/arrow-vector-12.0.1.jar",
        "jars/ivy-2.5.3.jar",
        "examples/src/main/python/pi.py",
        "sql/functions.py",
    ],
)
def test_what_no_job_uses_stays_outside(path):
    assert not is_needed(PurePosixPath(path))
