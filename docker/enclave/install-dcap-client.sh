#!/usr/bin/env bash
# Quotes on Azure need Azure's DCAP client. Intel's default provider asks a PCCS that is not there, and the
# quote fails with "p_sgx_get_quote_config returned NULL".
set -euo pipefail

packages="$1"
if dpkg-query -W -f '${Status}' libsgx-dcap-default-qpl 2>/dev/null | grep -q 'install ok'; then
  dpkg --remove --force-depends libsgx-dcap-default-qpl
fi
if compgen -G "$packages/*.deb" >/dev/null; then
  dpkg --install "$packages"/*.deb
fi
dpkg-query -W -f '${Package} ${Version}\n' az-dcap-client || {
  printf '[dcap-client-missing] %s · do: %s\n' 'The image has no Azure DCAP client.' \
    'take a base that has it, or put its .deb into the context folder debs/' >&2
  exit 1
}
# Where Intel's library looks for a provider.
library="$(ldconfig -p | sed -nE 's,^.*libdcap_quoteprov\.so .*=> (/.*)$,\1,p' | head -n 1)"
[ -z "$library" ] || [ -e "${library%/*}/libdcap_quoteprov.so.1" ] ||
  ln -s "$library" "${library%/*}/libdcap_quoteprov.so.1"
rm -rf "$packages"
