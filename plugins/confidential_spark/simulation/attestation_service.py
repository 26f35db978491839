"""The loopback attestation service."""

from __future__ import annotations

from confidential_spark.simulation.attestation_tokens import ISSUER, issue_token, jwks

__all__ = ["ISSUER", "issue_token", "jwks"]
