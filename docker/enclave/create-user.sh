#!/usr/bin/env bash
# The one user of the image, and the folders that belong to it.
set -euo pipefail

id=10001
groupadd --gid "$id" enclave
useradd --uid "$id" --gid "$id" --no-create-home --home-dir /tmp --shell /usr/sbin/nologin enclave
# /host is all that the enclave sees of the container.
install -d -m 0755 /host
install -d -o "$id" -g "$id" -m 0700 /host/launch /host/data /opt/enclave /run/enclave-sign
