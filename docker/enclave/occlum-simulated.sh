#!/bin/sh
# `occlum` of the simulated image.
export PYTHONHOME=/opt/python
exec /opt/python/bin/python3 -P -m confidential_spark.simulation.enclave.occlum "$@"
