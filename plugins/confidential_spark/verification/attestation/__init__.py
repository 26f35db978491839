"""One attestation: token, quote, collateral and runtime data."""
