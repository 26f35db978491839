#!/usr/bin/env bash
# Stands in for the enclave image where pods are local processes: the entrypoint's commands, without an enclave.
# $AGENT is Python, for what goes through blobs; $BEHAVIOUR says how a driver ends. Container paths are below $FAKE_ROOT, see tests/support/fakes/kubernetes_api/volumes.py.
set -eu
data="$FAKE_ROOT/host/data"
launch="$FAKE_ROOT/run/enclave-launch/launch.json"

# Does with the launch's blobs what the agent does: downloads to the input, or uploads the results.
blobs() { # download | upload
  "$AGENT" - "$1" "$launch" "$data" <<'PYTHON'
import json, sys
from pathlib import Path
from confidential_spark.agent.data.blobs import BlobSource
from confidential_spark.agent.data.results_blob import ResultsBlob

launch, data = json.loads(Path(sys.argv[2]).read_text()), Path(sys.argv[3])
if sys.argv[1] == "download" and launch["input_files"]:
    BlobSource.of(launch["input"], launch["input_files"]).download(data / "input")
if sys.argv[1] == "upload" and launch["results_blob"]:
    ResultsBlob(**launch["results_blob"]).upload(data / "results")
PYTHON
}

finish() {
  mkdir -p "$data/input" "$data/results"
  ${BLOBS:+blobs download}
  (cd "$data" && find input -type f -exec sha256sum {} + | sort) >"$data/results/input.txt"
  cp "$launch" "$data/results/launch.json"
  printf '{}' >"$data/results/envelope.json"
  ${BLOBS:+blobs upload}
  echo 'results signed'
}

run() {
  until [ -s "$launch" ]; do sleep 0.05; done
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

# A pod of a test's own, which is left somewhere.
linger() {
  while true; do
    sleep 1000 &
    wait $! || true
  done
}

trap 'echo stopped by TERM; exit 143' TERM
case "$1" in
  run) run ;;
  wait) linger ;;
  attest)
    mkdir -p "$data/results"
    until [ -s "$launch" ]; do sleep 0.05; done
    cp "$launch" "$data/results/attestation.json"
    blobs upload
    ;;
  measure) echo "${IDENTITY-}" ;;
esac
