"""Stands in for Microsoft Azure Attestation, on the loopback."""
