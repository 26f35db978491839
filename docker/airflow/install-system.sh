#!/usr/bin/env bash
# Installs Debian packages that the base image lacks; of Airflow's own image that is none.
set -euo pipefail

missing=()
for package; do
  case "$package" in
    python3-venv) python3 -m ensurepip --version >/dev/null 2>&1 || missing+=("$package") ;;
    *) [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package") ;;
  esac
done
if [ "${#missing[@]}" -ne 0 ]; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
  rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
fi
# Authorities of a company's own package index or proxy, for the build stage only: certificates/README.md.
if compgen -G "$(dirname "$0")/*.crt" >/dev/null; then
  install -m 0644 "$(dirname "$0")"/*.crt /usr/local/share/ca-certificates/
  update-ca-certificates >/dev/null
fi
