#!/usr/bin/env bash
# attest | run | executor   start the enclave agent with the launch file
# measure                   print the identity of the signed enclave as JSON
# build-enclave             build and sign the enclave (build time only; see build-enclave.sh)
set -euo pipefail
umask 077

enclave=/opt/enclave
instance="$enclave/run/instance"
launch_dir=/host/launch
launch_mount=/run/enclave-launch
launch_delivery=/host/data/launch
service_account=/var/run/secrets/kubernetes.io/serviceaccount
python=/opt/python/bin/python3
agent=/opt/confidential-spark/bin/enclave-agent

# Exit codes of agent/errors.py.
readonly bad_launch=65 terminated=143

fail() { # exit code, code, what happened, what to do
  printf '[%s] %s · do: %s\n' "$2" "$3" "$4" >&2
  exit "$1"
}

# Occlum writes into its instance, and this one is read-only: links to it, on a tmpfs, are the instance.
enter_instance() {
  [ -f "$enclave/build/lib/libocclum-libos.signed.so" ] ||
    fail "$bad_launch" enclave-not-built 'This image has no enclave.' 'run build-enclave in it, or take a finished image'
  mkdir -p "$instance/run/mount/__ROOT" "$instance/run/initfs/__ROOT" ||
    fail "$bad_launch" run-dir-read-only "$enclave/run cannot be written." "mount a tmpfs there"
  ln -sfn "$enclave/build" "$instance/build"
  local name
  for name in Occlum.json initfs .sgx_mode; do
    [ ! -e "$enclave/$name" ] || ln -sfn "$enclave/$name" "$instance/$name"
  done
  echo built >"$instance/.__occlum_status"
  cd "$instance"
}

# From a variable; on a Docker engine, where it carries credentials, from the container's volume; or from the files that
# Kubernetes mounts as links, which Occlum does not follow.
receive_launch() { # command
  local file
  if [ -n "${ENCLAVE_LAUNCH-}" ]; then
    printf '%s' "$ENCLAVE_LAUNCH" >"$launch_dir/launch.json" || cannot_write
    unset ENCLAVE_LAUNCH
    # A new program: this one's environment stays readable for every job as long as it runs.
    exec "$0" "$1"
  fi
  if [ -e "$launch_delivery/launch.json" ]; then
    mv "$launch_delivery/launch.json" "$launch_dir/" || cannot_write
  fi
  [ ! -e "$launch_dir/launch.json" ] || return 0
  [ -e "$launch_mount/launch.json" ] ||
    fail "$bad_launch" launch-missing 'There is no launch file.' "set ENCLAVE_LAUNCH, or mount $launch_mount/launch.json"
  for file in "$launch_mount"/*; do
    cp -L --no-preserve=mode "$file" "$launch_dir/" || cannot_write
  done
}

# What only the pod knows, and the API's credentials, which Kubernetes mounts as links.
complete_launch() { # command
  [ -n "${POD_IP-}" ] || return 0
  in_python confidential_spark.enclave.container.pod_launch "$1" "$launch_dir/launch.json" || exit "$bad_launch"
  [ -e "$service_account/token" ] || return 0
  mkdir -p "$launch_dir/service-account" || cannot_write
  cp -L --no-preserve=mode "$service_account"/{token,ca.crt} "$launch_dir/service-account/" || cannot_write
}

in_python() { PYTHONHOME=/opt/python LD_LIBRARY_PATH=/opt/python/lib "$python" -P -m "$@"; }

cannot_write() { fail "$bad_launch" launch-dir-read-only "$launch_dir cannot be written." 'mount a tmpfs there'; }

# Occlum's own script does not pass signals on, so all its processes get them. A stopped run never ends with 0:
# Airflow and Kubernetes would take it for a success.
supervise() {
  local child='' stopped='' status=0
  trap 'stopped=yes; [ -z "$child" ] || kill -TERM -- "-$child" 2>/dev/null || true' TERM INT HUP
  setsid "$@" &
  child=$!
  [ -z "$stopped" ] || kill -TERM -- "-$child" 2>/dev/null || true
  while true; do
    status=0
    wait "$child" || status=$?
    kill -0 "$child" 2>/dev/null || break
  done
  [ -z "$stopped" ] || [ "$status" -ne 0 ] || status=$terminated
  exit "$status"
}

measure() {
  enter_instance
  in_python confidential_spark.enclave.container.signed_enclave \
    --enclave build/lib/libocclum-libos.signed.so \
    --mrenclave "$(occlum print mrenclave)" --mrsigner "$(occlum print mrsigner)"
}

case "${1-}" in
  attest | run | executor)
    receive_launch "$1"
    complete_launch "$1"
    enter_instance
    supervise occlum run "$agent" "$1"
    ;;
  measure) measure ;;
  build-enclave)
    "${0%/*}/build-enclave.sh"
    measure
    ;;
  *)
    fail 64 command-unknown "There is no command '${1-}'." 'say attest, run, executor or measure'
    ;;
esac
