#!/usr/bin/env bash
# Python stage: /usr/local becomes the one tree /opt/python, with the libraries that its modules load.
set -euo pipefail

target=/opt/python
# Occlum brings its own build of these.
c_library='/(ld-linux-x86-64|libc|libm|libdl|libpthread|librt|libutil|libcrypt|libnsl|libresolv)[.-]'

mkdir -p "$target"
cp -a /usr/local/bin /usr/local/lib "$target/"
find "$target" -name '*.so*' -type f -exec ldd {} + 2>/dev/null |
  sed -nE 's,^.* => (/[^ ]+) \(0x[0-9a-f]+\)$,\1,p' | sort -u | { grep -Ev "$c_library" || true; } |
  while IFS= read -r library; do
    [[ "$library" == /usr/local/* ]] || cp -L "$library" "$target/lib/"
  done
# Tests, a package manager and headers are nothing an enclave needs.
rm -rf "$target"/lib/python3*/{test,idlelib,tkinter,turtledemo,ensurepip,config-*} \
  "$target"/lib/python3*/site-packages/{pip,setuptools,wheel}* "$target"/lib/pkgconfig "$target"/bin/{pip,idle,2to3,pydoc}*
find "$target" -name __pycache__ -prune -exec rm -rf {} +
