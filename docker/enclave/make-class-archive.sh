#!/usr/bin/env bash
# Parses Spark's classes once, so that every run starts in half the time. From the same list of classes and the
# same jars come the same bytes, so the archive can be measured; a list from a run of this build could not.
set -euo pipefail

classes="$1"
runner=/opt/confidential-spark/confidential_spark/enclave/jvm
jars="$(find /opt/spark/jars -name '*.jar' | LC_ALL=C sort | paste -sd :)"
signed="$(find /opt/spark/jars -name 'commons-compiler-*.jar' -o -name 'janino-*.jar' | LC_ALL=C sort | paste -sd :)"

# Collector and class paths as at run time: enclave/spark.py, agent/job/spark.py.
make_archive() { # archive, the lock that comes first
  /opt/jre/bin/java -Xshare:dump -Xlog:disable -Xlog:all=error -XX:+UseSerialGC -Xmx1g \
    "-XX:SharedClassListFile=$classes" "-XX:SharedArchiveFile=$1" \
    "-Xbootclasspath/a:$signed" -cp "$runner/$2:$runner/runner.jar:$jars"
}

make_archive /opt/spark/spark-classes.jsa no-server.jar
make_archive /opt/spark/spark-classes-pods.jsa gate.jar
rm "$classes"
