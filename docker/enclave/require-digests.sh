#!/usr/bin/env bash
# Refuses base images that are named by a tag: what a tag means can change.
set -euo pipefail

for reference; do
  if ! [[ "$reference" =~ ^[a-z0-9][a-z0-9._:/-]*@sha256:[0-9a-f]{64}$ ]]; then
    printf '[base-not-by-digest] A base image is not named by its digest · got: %s · expected: name@sha256:… · do: %s\n' \
      "$reference" 'take the digest from a registry you trust' >&2
    exit 1
  fi
done
