"""One outside system each: Microsoft Azure Attestation, quote collateral, result storage."""
