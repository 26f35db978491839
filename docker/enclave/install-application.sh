#!/usr/bin/env bash
# Compiles the agent and the jobs, gives the enclave its entry point, and checks that the agent starts.
set -euo pipefail

# The second is for the hardware image, whose Python has its libraries with it.
export PYTHONHOME=/opt/python LD_LIBRARY_PATH=/opt/python/lib
python=/opt/python/bin/python3
application=/opt/confidential-spark
agent="$application/bin/enclave-agent"

"$python" -m compileall -q --invalidation-mode unchecked-hash "$application/confidential_spark"
install -D -m 0755 "$application/confidential_spark/agent/entry_point.py" "$agent"
"$python" -m confidential_spark.agent --help >/dev/null
# Without a command there is nothing to do, and it says so.
status=0
"$agent" >/dev/null || status=$?
[ "$status" -eq 64 ]
/opt/jre/bin/java -version
# build-enclave fills it when the signer is known, as the user of the image.
install -o 10001 -g 10001 -m 0644 /dev/null "$application/attestation-anchor.json"
