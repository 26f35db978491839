#!/bin/sh
# Verifies every month and year of this bundle, offline. Needs only `pip install` of confidential-spark.
#   sh verify-all.sh --policy YOUR-POLICY.yaml   judges by a policy that you trust
#   sh verify-all.sh --trust-bundle              judges by the bundle's own: consistent, whoever made it
# Exit status: 0 every month verified, 1 a month refused or missing, a year refused or stale, or a file changed,
# 2 could not check.
set -eu
folder=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
exec "${CONFIDENTIAL_SPARK:-confidential-spark}" audit verify "$folder" "$@"
