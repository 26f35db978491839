#!/usr/bin/env bash
# Makes the enclave of this image: fills image/, builds, signs, removes what only the build needed.
# The sign key arrives on standard input and lies on a tmpfs until this script ends.
set -euo pipefail
umask 022

enclave=/opt/enclave
sign_dir=/run/enclave-sign
key="$sign_dir/key.pem"
scripts="${0%/*}"
anchor=/opt/confidential-spark/attestation-anchor.json
# Where Occlum's own loader looks; only the hardware image has it.
occlum_libraries=/opt/occlum/glibc/lib
quote_library=/opt/occlum/toolchains/dcap_lib/glibc/libocclum_dcap.so
most_key_lines=200

fail() { # code, what happened, what to do
  printf '[%s] %s · do: %s\n' "$1" "$2" "$3" >&2
  exit 1
}

remove_traces() { rm -rf "$key" "$enclave/image"; }
trap remove_traces EXIT

receive_key() {
  [ "$(stat -f -c %T "$sign_dir")" = tmpfs ] ||
    fail sign-dir-not-tmpfs "$sign_dir is part of the image." 'mount a tmpfs there, so that the key is never stored'
  (umask 077 && : >"$key")
  local line lines=0
  while IFS= read -r line && [ "$lines" -lt "$most_key_lines" ]; do
    printf '%s\n' "$line" >>"$key"
    lines=$((lines + 1))
    [[ "$line" != '-----END '*'KEY-----' ]] || return 0
  done
  fail sign-key-missing 'Standard input ended before the sign key did.' 'send a PEM file with an RSA-3072 key'
}

copy() { # absolute paths, to the same place in image/
  local path
  for path; do
    mkdir -p "image${path%/*}"
    cp -a --no-preserve=ownership "$path" "image${path%/*}/"
  done
}

# Prints the shared libraries that the programs in image/ load, as far as they are not in it.
libraries() {
  find image/opt -type f \( -name '*.so' -o -name '*.so.*' -o -perm -u+x \) -print0 |
    while IFS= read -r -d '' file; do
      LD_LIBRARY_PATH=/opt/python/lib ldd "${file#image}" 2>/dev/null || true
    done |
    sed -nE 's,^(.* => )?[[:space:]]*(/[^ ]+) \(0x[0-9a-f]+\)$,\2,p' | sort -u |
    grep -Ev '^/opt/(jre|spark|python/lib/python)'
}

# glibc loads these by name when they are needed.
loaded_late() {
  ldconfig -p | sed -nE 's,^[[:space:]]*(libnss_files|libnss_dns|libresolv|libgcc_s)\.so\.[0-9]+ .*x86-64.* => (/.*)$,\2,p'
}

copy_libraries() {
  local path name
  while IFS= read -r path; do
    name="${path##*/}"
    if [ ! -d "image$occlum_libraries" ]; then
      mkdir -p "image${path%/*}"
      cp -L "$path" "image$path"
    elif [ ! -e "image$occlum_libraries/$name" ]; then
      # Occlum's build of a library, where there is one, knows that there is no fork.
      [ ! -e "$occlum_libraries/$name" ] || path="$occlum_libraries/$name"
      cp -L "$path" "image$occlum_libraries/$name"
    fi
  done
}

# Also in the container itself: the simulated enclave runs the container's files, and compares them.
write_anchor() {
  PYTHONHOME=/opt/python LD_LIBRARY_PATH=/opt/python/lib /opt/python/bin/python3 -P \
    -m confidential_spark.enclave.container.attestation_anchor --provider "$scripts/attestation-provider.json" \
    --occlum-json "$scripts/Occlum.json" --sign-key "$key" >"$anchor"
}

fill_image() {
  copy /opt/jre /opt/python /opt/spark /opt/confidential-spark
  copy /etc/passwd /etc/group /etc/nsswitch.conf
  [ ! -e /etc/ssl/certs/ca-certificates.crt ] || copy /etc/ssl/certs/ca-certificates.crt
  { libraries && loaded_late; } | copy_libraries
  [ ! -e "$quote_library" ] || cp -L "$quote_library" "image$occlum_libraries/"
  mkdir -p image/host image/tmp image/proc image/dev
}

cd "$enclave"
receive_key
occlum init
write_anchor
fill_image
cp "$scripts/Occlum.json" Occlum.json
occlum build --sign-key "$key"
