"""The DAG enclave_image: resolve, build, sign, measure, approve, publish."""
