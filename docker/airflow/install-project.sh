#!/usr/bin/env bash
# Builds this project's wheel and unpacks it where a checkout has its plugins, so that paths are the same in both.
set -euo pipefail

plugins=/opt/project/plugins
(cd /opt/build/plugins && /opt/tools/bin/python -m hatchling build -t wheel -d /opt/build/wheels)
/opt/tools/bin/uv pip install -q --python /opt/confidential-spark/venv/bin/python --no-deps --no-index --compile-bytecode \
  --target "$plugins" /opt/build/wheels/*.whl
cp /opt/build/plugins/.airflowignore "$plugins/"
# Of uv; anybody could write to it.
rm -f "$plugins/.lock"
