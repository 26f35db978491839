#!/usr/bin/env bash
# Stands in for the enclave image where pods are local processes: the entrypoint's commands, without an enclave.
# $BEHAVIOUR says how a driver ends. Container paths are below $FAKE_ROOT, see tests/support/fakes/kubernetes_api/volumes.py.
set -eu
data="$FAKE_ROOT/host/data"

finish() {
  (cd "$data" && find input -type f -exec sha256sum {} + | sort) >"$data/results/input.txt"
  cp "$FAKE_ROOT/run/enclave-launch/launch.json" "$data/results/launch.json"
  printf '{}' >"$data/results/envelope.json"
  echo 'results signed'
}

run() {
  until [ -s "$FAKE_ROOT/run/enclave-launch/launch.json" ]; do sleep 0.05; done
  echo "Attested in $HOSTNAME"
  case "${BEHAVIOUR-}" in
    '') finish ;;
    wait)
      until [ -e "$data/go" ]; do sleep 0.05; done
      finish
      ;;
    *) exit "$BEHAVIOUR" ;;
  esac
}

transfer() {
  trap '[ -z "${1-}" ] || rm -rf "$data/$1"; exit 143' TERM
  mkdir -p "$data/${1-}"
  while true; do
    sleep 1000 &
    wait $! || true
  done
}

trap 'echo stopped by TERM; exit 143' TERM
case "$1" in
  run) run ;;
  transfer) transfer "${2-}" ;;
  attest)
    mkdir -p "$data/results"
    printf '%s' "$ENCLAVE_LAUNCH" >"$data/results/attestation.json"
    ;;
  measure) echo "${IDENTITY-}" ;;
esac
