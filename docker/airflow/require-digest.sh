#!/usr/bin/env bash
# Refuses a base image that is named by a tag: what a tag means can change. An image's id, of one on the same engine, is
# a digest too.
set -euo pipefail

if ! [[ "$1" =~ ^([a-z0-9][a-z0-9._:/-]*@)?sha256:[0-9a-f]{64}$ ]]; then
  printf '[base-not-by-digest] The base image is not named by its digest · got: %s · expected: %s · do: %s\n' \
    "$1" 'apache/airflow@sha256:…, or an image id' 'set --build-arg BASE_IMAGE; take the digest from a registry you trust' >&2
  exit 1
fi
