#!/usr/bin/env bash
# Java stage: the runtime in JAVA_HOME becomes /opt/jre. Spark 3.5 in Occlum needs Java 11 (or 8).
set -euo pipefail

java_home="${JAVA_HOME:?the Java image sets no JAVA_HOME}"
grep -Eq '^JAVA_VERSION="(11\.|1\.8)' "$java_home/release" || {
  printf '[java-unsupported] Occlum documents Java 8 and 11 · got: %s · do: take another JAVA_IMAGE\n' \
    "$(grep ^JAVA_VERSION= "$java_home/release")" >&2
  exit 1
}
cp -a "$java_home" /opt/jre
