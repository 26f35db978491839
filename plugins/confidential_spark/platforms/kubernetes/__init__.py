"""Enclaves in pods of a Kubernetes cluster."""
