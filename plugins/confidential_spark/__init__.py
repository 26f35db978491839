"""Confidential Spark: Spark jobs in attested enclaves, with evidence an outsider can verify."""

__version__ = "0.1.0"
