#!/usr/bin/env bash
# Installs the locked packages into an environment of their own. Every file that is fetched has its hash in a lock file,
# what packages are built with included.
set -euo pipefail
cd "$(dirname "$0")"

project=/opt/confidential-spark
export PIP_CERT=/etc/ssl/certs/ca-certificates.crt SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy
# Airflow's own image installs packages for a user.
unset PIP_USER

python3 -m venv /opt/tools
/opt/tools/bin/python -m pip install -q --require-hashes --only-binary :all: -r tools.txt
/opt/tools/bin/uv venv -q --python "$(command -v python3)" "$project/venv"
/opt/tools/bin/uv pip install -q --python "$project/venv/bin/python" --require-hashes --build-constraints tools.txt \
  --compile-bytecode -r requirements.txt
# Of uv; anybody could write to it.
rm -f "$project/venv/.lock"
echo "$project/plugins" >"$("$project/venv/bin/python" -c 'import site; print(site.getsitepackages()[0])')/confidential-spark.pth"
