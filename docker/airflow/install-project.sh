#!/usr/bin/env bash
# Builds this project's wheel and installs it where a checkout has its plugins, so that paths are the same in both.
set -euo pipefail

project=/opt/confidential-spark
plugins=$project/plugins
(cd /opt/build/plugins && /opt/tools/bin/python -m hatchling build -t wheel -d /opt/build/wheels)
/opt/tools/bin/uv pip install -q --python "$project/venv/bin/python" --no-deps --no-index --compile-bytecode \
  --target "$plugins" /opt/build/wheels/*.whl
cp /opt/build/plugins/.airflowignore "$plugins/"
echo "$plugins" >"$("$project/venv/bin/python" -c 'import site; print(site.getsitepackages()[0])')/confidential-spark.pth"
"$project/venv/bin/python" -c 'import confidential_spark.settings as s; assert str(s.PROJECT_DIR) == "/opt/confidential-spark"'
# Of uv; anybody could write to it.
rm -f "$project/venv/.lock"
