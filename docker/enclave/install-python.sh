#!/usr/bin/env bash
# Copies the distribution's Python to one tree, /opt/python, as the hardware image has it.
set -euo pipefail

target=/opt/python
python="$(readlink -f "$(command -v python3)")"
standard_library="$("$python" -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"

mkdir -p "$target/bin" "$target/lib"
cp -a "$python" "$target/bin/"
ln -s "${python##*/}" "$target/bin/python3"
cp -a "$standard_library" "$target/lib/"
find "$target" -name __pycache__ -prune -exec rm -rf {} +
# Loads what an agent needs from the new tree, or fails the build.
PYTHONHOME="$target" "$target/bin/python3" -c 'import ctypes, hashlib, json, ssl, urllib.request'
