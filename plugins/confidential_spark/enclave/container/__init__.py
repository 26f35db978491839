"""Runs beside the enclave, in the image."""
