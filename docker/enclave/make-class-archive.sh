#!/usr/bin/env bash
# Parses Spark's classes once, so that every run starts in half the time. From the same list of classes and the
# same jars come the same bytes, so the archive can be measured; a list from a run of this build could not.
set -euo pipefail

classes="$1"
jars="$(find /opt/spark/jars -name '*.jar' | LC_ALL=C sort | paste -sd :)"

# Collector and class path as at run time: enclave/spark.py, agent/spark_process.py.
/opt/jre/bin/java -Xshare:dump -Xlog:disable -Xlog:all=error -XX:+UseSerialGC -Xmx1g \
  "-XX:SharedClassListFile=$classes" -XX:SharedArchiveFile=/opt/spark/spark-classes.jsa -cp "$jars"
rm "$classes"
