#!/usr/bin/env bash
# Compiles the agent and the jobs, and checks that the agent starts.
set -euo pipefail

# The second is for the hardware image, whose Python has its libraries with it.
export PYTHONHOME=/opt/python LD_LIBRARY_PATH=/opt/python/lib
python=/opt/python/bin/python3

"$python" -m compileall -q --invalidation-mode unchecked-hash /opt/confidential-spark/confidential_spark
"$python" -m confidential_spark.agent --help >/dev/null
/opt/jre/bin/java -version
# build-enclave fills it when the signer is known, as the user of the image.
install -o 10001 -g 10001 -m 0644 /dev/null /opt/confidential-spark/attestation-anchor.json
