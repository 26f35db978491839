#!/usr/bin/env bash
# Unpacks wheels into the image's Python. There is no pip here: their hashes were checked when they were fetched.
set -euo pipefail

wheels="$1"
# The second is for the hardware image, whose Python has its libraries with it.
export PYTHONHOME=/opt/python LD_LIBRARY_PATH=/opt/python/lib
python=/opt/python/bin/python3

site="$("$python" -c 'import site; print(site.getsitepackages()[0])')"
mkdir -p "$site"
for wheel in "$wheels"/*.whl; do
  "$python" -m zipfile -e "$wheel" "$site"
done
# The application's folder is on the path without any variable that a host could set.
echo /opt/confidential-spark >"$site/confidential-spark.pth"
# Headers, sources and tests are for building and testing other software.
find "$site" \( -name include -o -name tests \) -type d -prune -exec rm -rf {} +
find "$site" \( -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi' -o -name '*.h' \) -delete
"$python" -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/python/lib
rm -rf "$wheels"
