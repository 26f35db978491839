#!/usr/bin/env bash
# What containers run first, under the name that the Helm chart's probes expect: the command, and nothing else.
exec "$@"
